package courtsim

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

//go:embed vocabulary.toml
var vocabularyFile []byte

// vocabulary holds the texts of invented files. It does not change after it was read.
type vocabulary struct {
	Given     []string      `toml:"given"`
	Family    []string      `toml:"family"`
	Judge     []string      `toml:"judge"`
	Ship      []string      `toml:"ship"`
	Firm      []string      `toml:"firm"`
	CrownFirm string        `toml:"crown_firm"`
	Offices   []bilingual   `toml:"office"`
	Kinds     []proceeding  `toml:"kind"`
	Middle    []entryPhrase `toml:"middle"`
	Closing   []entryPhrase `toml:"closing"`
}

// bilingual is a term with a code and a name in both languages.
type bilingual struct {
	Code string `toml:"code"`
	EN   string `toml:"en"`
	FR   string `toml:"fr"`
}

// proceeding is a type of proceedings.
type proceeding struct {
	Series  []string    `toml:"series"`
	Against []string    `toml:"against"`
	Type    bilingual   `toml:"type"`
	Class   bilingual   `toml:"class"`
	Track   bilingual   `toml:"track"`
	Natures []bilingual `toml:"nature"`
	Opening entryPhrase `toml:"opening"`
}

// entryPhrase is the text of a recorded entry in both languages.
type entryPhrase struct {
	Document bool   `toml:"document"`
	EN       phrase `toml:"en"`
	FR       phrase `toml:"fr"`
}

// phrase is a text split at its slots: texts and slots alternate, starting with a text.
type phrase []string

// UnmarshalText splits a text; an unknown slot is an error.
func (p *phrase) UnmarshalText(text []byte) error {
	for i, part := range strings.FieldsFunc(" "+string(text), func(r rune) bool { return r == '{' || r == '}' }) {
		if i%2 == 1 && !slices.Contains([]string{"day", "judge", "lawyer", "city", "copies"}, part) {
			return fmt.Errorf("slot {%s}: allowed are {day}, {judge}, {lawyer}, {city}, {copies}", part)
		}
		*p = append(*p, part)
	}
	(*p)[0] = (*p)[0][1:]
	return nil
}

func readVocabulary() (*vocabulary, error) { return parseVocabulary(vocabularyFile) }

func parseVocabulary(data []byte) (*vocabulary, error) {
	w := new(vocabulary)
	meta, err := toml.Decode(string(data), w)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	if slices.Contains([]int{
		len(w.Given), len(w.Family), len(w.Judge), len(w.Ship), len(w.Firm), len(w.Offices), len(w.Kinds), len(w.Middle), len(w.Closing),
	}, 0) {
		return nil, errors.New("a list is empty")
	}
	for _, k := range w.Kinds {
		if len(k.Against) == 0 || len(k.Natures) == 0 || len(k.Opening.EN) == 0 || len(k.Opening.FR) == 0 {
			return nil, fmt.Errorf("proceeding %v is incomplete", k.Series)
		}
	}
	if len(w.Kinds[len(w.Kinds)-1].Series) > 0 {
		return nil, errors.New("the last proceeding must not name a series")
	}
	return w, nil
}

func (w *vocabulary) kindOf(series string) *proceeding {
	for i := range w.Kinds {
		if k := &w.Kinds[i]; len(k.Series) == 0 || slices.Contains(k.Series, series) {
			return k
		}
	}
	return &w.Kinds[len(w.Kinds)-1]
}
