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
	Posts     []bilingual   `toml:"post"`
	Kinds     []proceeding  `toml:"kind"`
	Steps     []entryPhrase `toml:"step"`
	Between   []entryPhrase `toml:"between"`
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
	Natures []nature    `toml:"nature"`
	Opening entryPhrase `toml:"opening"`
	Courses []course    `toml:"course"`
}

// nature is what a case is about, and who made the decision that is challenged.
type nature struct {
	bilingual
	Tribunal struct {
		EN phrase `toml:"en"`
		FR phrase `toml:"fr"`
	} `toml:"tribunal"`
}

// course is one way in which a proceeding goes on after its opening. Weight is how frequent it is
// among those of its type of proceedings.
type course struct {
	Weight int      `toml:"weight"`
	Steps  []string `toml:"steps"`
	steps  []*entryPhrase
}

// entryPhrase is the text of a recorded entry in both languages.
type entryPhrase struct {
	Name     string `toml:"name"`
	Document bool   `toml:"document"`
	// Motion makes its document the one that {motion} names in later entries.
	Motion bool `toml:"motion"`
	// Wait is the fewest days since the entry before.
	Wait int    `toml:"wait"`
	EN   phrase `toml:"en"`
	FR   phrase `toml:"fr"`
}

// phrase is a text split at its slots: texts and slots alternate, starting with a text.
type phrase []string

// UnmarshalText splits a text; an unknown slot is an error.
func (p *phrase) UnmarshalText(text []byte) error {
	for i, part := range strings.FieldsFunc(" "+string(text), func(r rune) bool { return r == '{' || r == '}' }) {
		slots := []string{"day", "judge", "lawyer", "city", "copies", "post", "tribunal", "motion"}
		if i%2 == 1 && !slices.Contains(slots, part) {
			return fmt.Errorf("slot {%s}: allowed are %s", part, strings.Join(slots, ", "))
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
		len(w.Given), len(w.Family), len(w.Judge), len(w.Ship), len(w.Firm), len(w.Offices), len(w.Posts), len(w.Kinds),
		len(w.Between),
	}, 0) {
		return nil, errors.New("a list is empty")
	}
	for i := range w.Kinds {
		k := &w.Kinds[i]
		if slices.Contains([]int{
			len(k.Against), len(k.Natures), len(k.Courses), len(k.Opening.EN), len(k.Opening.FR),
		}, 0) {
			return nil, fmt.Errorf("proceeding %v is incomplete", k.Series)
		}
		for j := range k.Courses {
			if err := w.resolve(k, &k.Courses[j]); err != nil {
				return nil, fmt.Errorf("proceeding %v: course %d: %w", k.Series, j+1, err)
			}
		}
	}
	if len(w.Kinds[len(w.Kinds)-1].Series) > 0 {
		return nil, errors.New("the last proceeding must not name a series")
	}
	return w, nil
}

// resolve finds the entries of a course by their names.
func (w *vocabulary) resolve(k *proceeding, c *course) error {
	if c.Weight < 1 {
		return fmt.Errorf("weight %d: allowed is 1 and more", c.Weight)
	}
	c.steps = []*entryPhrase{&k.Opening}
	for _, name := range c.Steps {
		i := slices.IndexFunc(w.Steps, func(e entryPhrase) bool { return e.Name == name })
		if i < 0 {
			return fmt.Errorf("no step is named %q", name)
		}
		c.steps = append(c.steps, &w.Steps[i])
	}
	return nil
}

func (w *vocabulary) kindOf(series string) *proceeding {
	for i := range w.Kinds {
		if k := &w.Kinds[i]; len(k.Series) == 0 || slices.Contains(k.Series, series) {
			return k
		}
	}
	return &w.Kinds[len(w.Kinds)-1]
}
