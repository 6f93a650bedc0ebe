package site

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"

	"golang.org/x/net/html"
)

// tokensCall is the name of the request for the page with the hidden inputs. No call of a profile
// has it.
const tokensCall = "tokens"

// tokenRules describes where a site's hidden inputs come from, and how a response to stale inputs
// looks.
type tokenRules struct {
	path string
	page pageReader // only inputs and endMark are set
	// stale are the rules for responses that only mean that the inputs are too old.
	stale []staleRule
}

// staleRule matches a response that has one of these texts and one of these statuses; without
// statuses it matches any.
type staleRule struct {
	name   string
	status []int
	texts  [][]byte // in lower case
}

// readInputs reads the hidden inputs from the page that provides them.
func (t *tokenRules) readInputs(exchange contract.Exchange) ([][2]string, *responseError) {
	if exchange.Error != "" {
		return nil, &responseError{"exchange", errors.New(exchange.Error)}
	}
	root, failure := t.page.parse(exchange)
	if failure != nil {
		return nil, failure
	}
	inputs, err := hiddenInputs(t.page.inputs, root)
	if err != nil {
		return nil, &responseError{"token", err}
	}
	return inputs, nil
}

// findStale returns the name of the rule that matches a response to stale inputs. It is safe on a
// nil receiver.
func (t *tokenRules) findStale(exchange contract.Exchange) (rule string, stale bool) {
	if t == nil {
		return "", false
	}
	page := bytes.ToLower(exchange.Body[:min(len(exchange.Body), searchLimit)])
	for _, rule := range t.stale {
		fits := func(text []byte) bool { return bytes.Contains(page, text) }
		if (len(rule.status) == 0 || slices.Contains(rule.status, exchange.Status)) && slices.ContainsFunc(rule.texts, fits) {
			return rule.name, true
		}
	}
	return "", false
}

// hiddenInputs returns the names and values of the inputs on a page. It fails if there are none.
func hiddenInputs(path *htmltree.Path, root *htmltree.Node) ([][2]string, error) {
	found, err := path.All(root)
	if err != nil {
		return nil, err
	}
	var inputs [][2]string
	for _, n := range found {
		if name := htmltree.Attribute(n, "name"); n.Type == html.ElementNode && name != "" {
			inputs = append(inputs, [2]string{name, htmltree.Attribute(n, "value")})
		}
	}
	if len(inputs) == 0 || len(inputs) > maxInputs {
		return nil, fmt.Errorf("%d hidden inputs, allowed is 1 to %d", len(inputs), maxInputs)
	}
	return inputs, nil
}

// maxInputs is the largest number of hidden inputs of a form.
const maxInputs = 64
