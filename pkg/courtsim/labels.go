package courtsim

import (
	_ "embed"
	"fmt"
	"html/template"

	"github.com/BurntSushi/toml"
)

//go:embed labels.toml
var labelsFile []byte

//go:embed page.html
var pageFile string

// labels are what the court's page says in one language.
type labels struct {
	Lang         string   `toml:"lang"`
	Path         string   `toml:"path"`
	Title        string   `toml:"title"`
	ByParty      string   `toml:"by_party"`
	ByNumber     string   `toml:"by_number"`
	Court        string   `toml:"court"`
	Trial        string   `toml:"trial"`
	Appeal       string   `toml:"appeal"`
	Both         string   `toml:"both"`
	Search       string   `toml:"search"`
	Number       string   `toml:"number"`
	Style        string   `toml:"style"`
	Nature       string   `toml:"nature"`
	Parties      string   `toml:"parties"`
	More         string   `toml:"more"`
	NoData       string   `toml:"no_data"`
	Showing      string   `toml:"showing"`
	Previous     string   `toml:"previous"`
	Next         string   `toml:"next"`
	EntriesTitle string   `toml:"entries_title"`
	Type         string   `toml:"type"`
	Action       string   `toml:"action"`
	Office       string   `toml:"office"`
	Language     string   `toml:"language"`
	Filed        string   `toml:"filed"`
	Legend       string   `toml:"legend"`
	LegendRow    []string `toml:"legend_row"`
	File         string   `toml:"file"`
	EntriesHead  []string `toml:"entries_head"`
	Download     string   `toml:"download"`
	PartiesTitle string   `toml:"parties_title"`
	PartiesHead  []string `toml:"parties_head"`
}

// pages are the HTML face: a template, filled in one of two languages.
type pages struct {
	template *template.Template
	en, fr   labels
}

// readPages reads the files that come with the program.
func readPages() (*pages, error) {
	var languages struct {
		EN labels `toml:"en"`
		FR labels `toml:"fr"`
	}
	meta, err := toml.Decode(string(labelsFile), &languages)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	made, err := template.New("page").Parse(pageFile)
	if err != nil {
		return nil, err
	}
	return &pages{template: made, en: languages.EN, fr: languages.FR}, nil
}

// at is what the page at a path says; nil when there is no page.
func (p *pages) at(path string) *labels {
	switch path {
	case p.en.Path:
		return &p.en
	case p.fr.Path:
		return &p.fr
	default:
		return nil
	}
}

// pick is one of two texts, by the language.
func (l *labels) pick(en, fr string) string {
	if l.Lang == "fr" {
		return fr
	}
	return en
}

// in is the name of a thing in the language.
func (l *labels) in(c bilingual) string { return l.pick(c.EN, c.FR) }
