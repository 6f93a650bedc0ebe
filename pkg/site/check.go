package site

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"

	"golang.org/x/net/http/httpguts"
)

// checkNames checks what every profile says of itself.
func (f profileFile) checkNames() []error {
	var problems []error
	if f.Name == "" || len(f.Name) > 40 || strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		problems = append(problems, fmt.Errorf("name %.60q: allowed are 1 to 40 small letters, digits and dashes", f.Name))
	}
	if f.Origin != "" {
		if err := CheckOrigin(f.Origin); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func (f profileFile) check() []error {
	problems := f.checkNames()
	for series := range f.Divisions {
		if err := contract.CheckSeries(series); err != nil {
			problems = append(problems, fmt.Errorf("divisions: %w", err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		if err := checkHeader(name, f.Headers[name]); err != nil {
			problems = append(problems, err)
		}
	}
	problems = append(problems, f.checkCalls()...)
	return append(problems, f.checkBlocks()...)
}

// checkHeader refuses what no request can carry and what the client says itself.
func checkHeader(name, value string) error {
	own := []string{"User-Agent", "Host", "Accept-Encoding", "Content-Length", "Content-Type", "Cookie", "Connection", "Transfer-Encoding"}
	switch {
	case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("headers: %.60q: allowed is what an HTTP header can carry", name) // the value may be a token
	case slices.Contains(own, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("headers: %.60q: allowed is what the program does not say by itself", name)
	}
	err := checkPlaceholders("headers."+name, value)
	if err != nil && slices.ContainsFunc(inBraces.FindAllString(value, -1), func(word string) bool { return !placeholderLike.MatchString(word) }) {
		return fmt.Errorf("headers: %.60q: allowed in braces are %s", name, strings.Join(placeholders(), " "))
	}
	return err
}

var (
	inBraces = regexp.MustCompile(`[{}][^{}]*[{}]?`)
	// placeholderLike is a word in braces that was meant as a placeholder; anything else in a header may be a token, which no message
	// repeats.
	placeholderLike = regexp.MustCompile(`^\{[a-z_]{1,12}\}$`)
)

// checkPlaceholders refuses words in braces that are neither known everywhere nor among more.
func checkPlaceholders(key, text string, more ...string) error {
	known := append(placeholders(), more...)
	for _, word := range inBraces.FindAllString(text, -1) {
		if !slices.Contains(known, word) {
			return fmt.Errorf("%s: %.40q: allowed in braces are %s", key, word, strings.Join(known, " "))
		}
	}
	return nil
}

func (f profileFile) checkCalls() []error {
	var problems []error
	if len(f.Calls) == 0 || f.Calls[0].When != whenAlways {
		problems = append(problems, errors.New("call: the first one is made always"))
	}
	showing := 0
	var names []string
	for _, c := range f.Calls {
		if slices.Contains(names, c.Name) {
			problems = append(problems, fmt.Errorf("call %.40q: there twice", c.Name))
		}
		names = append(names, c.Name)
		if c.Name == tokensCall {
			problems = append(problems, fmt.Errorf("call %.40q: the name is that of the page with the hidden inputs", c.Name))
		}
		if c.Gives != partyRows {
			showing++
		}
	}
	if f.Proof < 1 || f.Proof > showing {
		problems = append(problems, fmt.Errorf("proof %d: allowed is 1 to %d, the number of calls that show a case", f.Proof, showing))
	}
	return problems
}

func (f profileFile) checkBlocks() []error {
	var problems []error
	if len(f.Blocks) == 0 {
		problems = append(problems, errors.New("block: at least one rule"))
	}
	for _, b := range f.Blocks {
		impossible := func(status int) bool { return status < 100 || status > 999 || status == http.StatusOK }
		noHeader := func(name string) bool { return !httpguts.ValidHeaderFieldName(name) }
		if slices.ContainsFunc(b.Header, noHeader) {
			problems = append(problems, fmt.Errorf("block %.40q: header: allowed are names of headers", b.Name))
		}
		if b.Name == "" || len(b.Status)+len(b.Header)+len(b.Text) == 0 || slices.ContainsFunc(b.Status, impossible) || slices.Contains(b.Text, "") {
			problems = append(problems, fmt.Errorf("block %.40q: allowed is a name with status (100 to 999, not 200), header or text", b.Name))
		}
	}
	return problems
}
