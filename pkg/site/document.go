package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/antchfx/jsonquery"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html/charset"
)

// expression is an XPath, compiled. Most are the bare name of a member; those are looked up without the machinery, which
// takes a third of the time.
type expression struct {
	text   string
	member string
	path   *xpath.Expr
}

var bareName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func compile(text string) (*expression, error) {
	path, err := xpath.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%.60q: allowed is an XPath: %w", text, err)
	}
	e := &expression{text: text, path: path}
	if bareName.MatchString(text) {
		e.member = text
	}
	return e, nil
}

// all are the nodes that the expression finds, which must be one that finds nodes.
func (e *expression) all(n *jsonquery.Node) []*jsonquery.Node {
	return jsonquery.QuerySelectorAll(n, e.path)
}

func (e *expression) first(n *jsonquery.Node) *jsonquery.Node {
	if e.member == "" {
		return jsonquery.QuerySelector(n, e.path)
	}
	if _, object := n.Value().(map[string]any); !object {
		return nil
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		if child.Data == e.member {
			return child
		}
	}
	return nil
}

// errValue says that a field holds what it should not.
var errValue = errors.New("not a plain value")

// maxExact is the largest whole number that came through JSON unharmed (2^53).
const maxExact = 1 << 53

// text is a scalar as text, trimmed; empty when it is missing or null.
func text(n *jsonquery.Node) (string, error) {
	if n == nil {
		return "", nil
	}
	switch value := n.Value().(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(value), nil
	case bool:
		return strconv.FormatBool(value), nil
	case float64:
		if math.Abs(value) > maxExact {
			return "", errValue
		}
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	default:
		return "", errValue
	}
}

// errCharset says that an answer's bytes are no text in the character set that they should be in.
var errCharset = errors.New("not text in its character set")

// parseJSON reads the one JSON value that a body must be.
func parseJSON(body []byte, contentType string) (*jsonquery.Node, error) {
	body, err := toUTF8(body, contentType)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errors.New("empty body")
	}
	return jsonquery.Parse(bytes.NewReader(body))
}

// toUTF8 is the body in UTF-8 without a byte order mark. A character set is taken from the content type alone: a guess
// could turn a broken answer into a wrong one.
func toUTF8(body []byte, contentType string) ([]byte, error) {
	_, params, _ := mime.ParseMediaType(contentType)
	name := strings.ToLower(params["charset"])
	if name != "" && name != "utf-8" && name != "utf8" && name != "us-ascii" {
		reader, err := charset.NewReaderLabel(name, bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q is not known", errCharset, name)
		}
		if body, err = io.ReadAll(reader); err != nil {
			return nil, fmt.Errorf("%w: %.40q: %w", errCharset, name, err)
		}
	}
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: not UTF-8", errCharset)
	}
	return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), nil
}
