package facts

import (
	"regexp"
	"testing"
)

func TestDates(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(datePattern)
	for text, want := range map[string]string{
		"on 20-MAY-2015 at": "2015-05-20", "le 01-FÉV-2016 à": "2016-02-01", "le 02-AOU-2007": "2007-08-02",
		"on May 20, 2015.": "2015-05-20",
		"Sept. 9, 2016":    "2016-09-09", "le 20 mai 2015": "2015-05-20", "le 1er février 2016": "2016-02-01",
		"LE 1ER FEVRIER 2016": "2016-02-01",
		"2015-05-20":          "2015-05-20", "the 28th of November, 2005": "2005-11-28",
		"the 3rd day of July 2006": "2006-07-03", "2-Jan-2025": "2025-01-02",
		"15-juil-2024": "2024-07-15", "15-JUN-2024": "2024-06-15", "15 juin 2024": "2024-06-15", "31-avr-2024": "",
		"29-FEB-2023":     "",
		"29 février 2024": "2024-02-29", "8-déc-2010": "2010-12-08", "no date": "", "12345": "", "20 widgets 2015": "",
	} {
		var f folded
		f.fold(text)
		if got := parseDate(string(pattern.Find(f.text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestFold_KeepsOffsets(t *testing.T) {
	t.Parallel()
	var f folded
	f.fold("  L’Honorable\u00a0 Œuvre\n\tNoe\u0308l №")
	if got := string(f.text); got != "l'honorable oeuvre noel " {
		t.Fatalf("%q", got)
	}
	for word, want := range map[string]string{"honorable": "Honorable", "oeuvre": "Œuvre", "noel": "Noe\u0308l"} {
		at := regexp.MustCompile(word).FindStringIndex(string(f.text))
		if got := f.slice(at[0], at[1]); got != want {
			t.Errorf("%s comes from %q, want %q", word, got, want)
		}
	}
}
