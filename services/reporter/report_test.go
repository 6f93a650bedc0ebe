package reporter

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"regexp"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
)

// TestPageRunsNothing: the page's own policy forbids all but its own style, also when a site's text got into it.
func TestPageRunsNothing(t *testing.T) {
	t.Parallel()
	data, err := render(contract.Report{Reason: `<script>alert(1)</script><style>*{background:url(//x)}</style>`, Version: `"><img src=x onerror=alert(1)>`})
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	meta := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatchIndex(text)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(text, -1)
	if meta == nil || len(style) != 1 || meta[0] > strings.Index(text, "<style>") {
		t.Fatalf("policy at %v, %d styles; want one policy before one style", meta, len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	if got := html.UnescapeString(text[meta[2]:meta[3]]); got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	if strings.Contains(text, " style=") || strings.Contains(text, "<script") || strings.Contains(text, "<img") {
		t.Error("the page holds what its policy forbids")
	}
}
