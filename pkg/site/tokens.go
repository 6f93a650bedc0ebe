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

// tokensCall is the name under which the page is asked for that gives the hidden inputs. No call of a profile has it.
const tokensCall = "tokens"

// tokenRules says where a site's hidden inputs come from, and how it looks when they have gone stale.
type tokenRules struct {
	path string
	page pageReader // of which only the inputs and the end are set
	// stale are the rules by which an answer is no answer but the word that the inputs are too old.
	stale []staleRule
}

// staleRule fits an answer of one of these statuses, any when there are none, with one of these texts.
type staleRule struct {
	name   string
	status []int
	texts  [][]byte // in small letters
}

// readInputs takes the hidden inputs from the page that gives them.
func (t *tokenRules) readInputs(exchange contract.Exchange) ([][2]string, *answerError) {
	if exchange.Error != "" {
		return nil, &answerError{"exchange", errors.New(exchange.Error)}
	}
	root, why := t.page.parse(exchange)
	if why != nil {
		return nil, why
	}
	inputs, err := hiddenInputs(t.page.inputs, root)
	if err != nil {
		return nil, &answerError{"token", err}
	}
	return inputs, nil
}

// findStale names the rule by which an answer says that the inputs of its request were too old; nil tokens never are.
func (t *tokenRules) findStale(exchange contract.Exchange) (rule string, worn bool) {
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

// hiddenInputs are names and values of the inputs that a page gives for the next request; an error when there are none.
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

// maxInputs is how many hidden inputs a form may have.
const maxInputs = 64
