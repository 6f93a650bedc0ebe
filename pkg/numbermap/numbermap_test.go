package numbermap_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/numbermap"
)

func TestMap_SetGet(t *testing.T) {
	t.Parallel()
	var none numbermap.Map
	none.Set(0, numbermap.Failed)
	if none.Numbers().Size() != 0 || none.Get(0) != numbermap.Skipped {
		t.Errorf("the zero value has the numbers %v", none.Numbers())
	}
	m := numbermap.New(contract.Range{Start: 5, End: 7})
	for number := range 20 {
		m.Set(number, numbermap.Failed)
	}
	m.Set(6, numbermap.State(200))
	for number, want := range map[int]numbermap.State{
		4: numbermap.Skipped, 5: numbermap.Failed, 6: numbermap.Skipped, 7: numbermap.Failed, 8: numbermap.Skipped,
	} {
		if got := m.Get(number); got != want {
			t.Errorf("number %d is %s, want %s", number, got, want)
		}
	}
	if got := fmt.Sprint(m.Counts()); got != "[0 0 0 0 0 2 0 1]" {
		t.Errorf("counts %s", got)
	}
}

func TestOfOutcome(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[contract.Outcome]numbermap.State{
		"": numbermap.Unseen, contract.Success: numbermap.Success, contract.NoRecord: numbermap.NoRecord,
		contract.Failed: numbermap.Failed, "else": numbermap.Unseen,
	} {
		if got := numbermap.OfOutcome(outcome); got != want {
			t.Errorf("%q is %s, want %s", outcome, got, want)
		}
	}
}

// The letters are the interface of the API: readers may know them.
func TestStates_Letters(t *testing.T) {
	t.Parallel()
	var got []string
	for _, state := range numbermap.States() {
		got = append(got, state.Letter()+" "+state.String())
	}
	want := "U unseen, I in flight, S success, N no-record, Q unconfirmed, F failed, B blocked, K skipped"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("states %s, want %s", got, want)
	}
}

func TestJSON_Form(t *testing.T) {
	t.Parallel()
	m := numbermap.New(contract.Range{Start: 1, End: 30000})
	for number := 1; number <= 122; number++ {
		m.Set(number, numbermap.Success)
	}
	m.Set(121, numbermap.NoRecord)
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"start":1,"end":30000,`, `"runs":"S120NSU29878"`, `"S":"success"`, `"blocked":0`,
		`"unseen":29878`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
	if strings.Contains(string(data), "skipped") {
		t.Errorf("%s: no number is skipped", data)
	}
	m.Set(5, numbermap.Skipped)
	if data, err = json.Marshal(m); err != nil || !strings.Contains(string(data), `"K":"skipped"`) || !strings.Contains(string(data), `"skipped":1`) {
		t.Errorf("%s, %v", data, err)
	}
	m.Set(5, numbermap.InFlight)
	if image := string(m.SVG("m", "all")) + string(m.Legend()); strings.Count(image, `class="numbermap-in-flight"`) != 1 ||
		!strings.Contains(image, " in flight: 1") || !strings.Contains(image, "numbermap-on-in-flight") {
		t.Errorf("%.2000s", image)
	}
}

// random returns a map whose neighbours have the same state with the probability stay.
func random(numbers contract.Range, stay float64) *numbermap.Map {
	source := rand.New(rand.NewPCG(uint64(numbers.Size()), 1))
	m, states := numbermap.New(numbers), numbermap.States()
	state := numbermap.Unseen
	for number := numbers.Start; number <= numbers.End; number++ {
		if source.Float64() >= stay {
			state = states[source.IntN(len(states))]
		}
		m.Set(number, state)
	}
	return m
}

func TestJSON_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, numbers := range []contract.Range{{Start: 1}, {Start: 400, End: 399}, {Start: 9, End: 9}, {Start: 7, End: 300},
		{Start: 1, End: contract.MaxNumber}} {
		for _, stay := range []float64{0, 0.9, 1} {
			m := random(numbers, stay)
			data, err := json.Marshal(m)
			var again numbermap.Map
			if err == nil {
				err = json.Unmarshal(data, &again)
			}
			if err != nil {
				t.Fatal(err)
			}
			if again.Numbers() != numbers {
				t.Errorf("%v: numbers %v", numbers, again.Numbers())
			}
			for number := numbers.Start; number <= numbers.End; number++ {
				if again.Get(number) != m.Get(number) {
					t.Fatalf("%v: number %d is %s, want %s", numbers, number, again.Get(number), m.Get(number))
				}
			}
		}
	}
}

func TestJSON_Refused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"letter":         `{"start":1,"end":3,"runs":"S2X"}`,
		"too few":        `{"start":1,"end":3,"runs":"S2"}`,
		"too many":       `{"start":1,"end":3,"runs":"S2N2"}`,
		"length 0":       `{"start":1,"end":3,"runs":"S0N3"}`,
		"huge length":    `{"start":1,"end":3,"runs":"S99999999999999999999"}`,
		"huge range":     `{"start":1,"end":2000000000,"runs":"S2000000000"}`,
		"before 1":       `{"start":-5,"end":1,"runs":"S7"}`,
		"a digit first":  `{"start":1,"end":3,"runs":"3S"}`,
		"not a string":   `{"start":1,"end":3,"runs":3}`,
		"beyond numbers": `{"start":99999,"end":100000,"runs":"S2"}`,
	} {
		m := numbermap.New(contract.Range{Start: 1, End: 1})
		if err := json.Unmarshal([]byte(text), m); err == nil || m.Numbers().End != 1 {
			t.Errorf("%s: %v, the map has the numbers %v", name, err, m.Numbers())
		}
	}
}

// drawn reads the states of the cells out of an image.
func drawn(t *testing.T, svg string, m *numbermap.Map) map[int]string {
	t.Helper()
	box := regexp.MustCompile(`viewBox="0 0 (\d+) (\d+)"`).FindStringSubmatch(svg)
	width, _ := strconv.Atoi(box[1])
	states := map[int]string{}
	step := regexp.MustCompile(`[Mm](-?\d+) (-?\d+)(?:\.5)?h(\d+)`)
	for _, path := range regexp.MustCompile(`<path class="numbermap-([a-z-]+)" d="([^"]*)"/>`).FindAllStringSubmatch(svg, -1) {
		column, row := 0, 0
		if rest := step.ReplaceAllString(path[2], ""); rest != "" {
			t.Fatalf("%s: the path has %q", path[1], rest)
		}
		for _, part := range step.FindAllStringSubmatch(path[2], -1) {
			right, _ := strconv.Atoi(part[1])
			down, _ := strconv.Atoi(part[2])
			length, _ := strconv.Atoi(part[3])
			column, row = column+right, row+down
			for range length {
				number := m.Numbers().Start + row*width + column
				if column++; column > width || states[number] != "" {
					t.Fatalf("%s: column %d of %d, number %d is %q", path[1], column, width, number, states[number])
				}
				states[number] = path[1]
			}
		}
	}
	return states
}

// class is the part of the names of classes and variables that stands for a state.
func class(s numbermap.State) string { return strings.ReplaceAll(s.String(), " ", "-") }

func TestSVG_EveryCellOnce(t *testing.T) {
	t.Parallel()
	for _, numbers := range []contract.Range{{Start: 1}, {Start: 1, End: 1}, {Start: 40, End: 99}, {Start: 3, End: 900},
		{Start: 1, End: 30000}, {Start: 1, End: contract.MaxNumber}} {
		for _, stay := range []float64{0, 0.95, 1} {
			m := random(numbers, stay)
			states := drawn(t, string(m.SVG("map", "all")), m)
			if len(states) != numbers.Size() {
				t.Errorf("%v: %d cells", numbers, len(states))
			}
			for number, got := range states {
				if want := class(m.Get(number)); got != want {
					t.Fatalf("%v: number %d is drawn as %s, want %s", numbers, number, got, want)
				}
			}
		}
	}
}

// An image of 30,000 numbers has to stay small even if every number differs from its neighbours.
func TestSVG_Small(t *testing.T) {
	t.Parallel()
	for size, limit := range map[int]int{30000: 300_000, contract.MaxNumber: 1_000_000} {
		if got := len(random(contract.Range{Start: 1, End: size}, 0).SVG("map", "all")); got > limit {
			t.Errorf("%d numbers take %d bytes, want at most %d", size, got, limit)
		}
	}
}

func TestSVG_Accessible(t *testing.T) {
	t.Parallel()
	m := numbermap.New(contract.Range{Start: 1, End: 3})
	m.Set(2, numbermap.Success)
	svg := string(m.SVG("map", `<script>"IMM-1-25" & more`))
	for _, want := range []string{
		`role="img" aria-labelledby="map-t map-d"`,
		`<title id="map-t">Map of the numbers &lt;script&gt;&#34;IMM-1-25&#34; &amp; more</title>`,
		`<desc id="map-d">One cell a number, 25 in a row, from number 1 at the top left to 3. unseen: 2. success: 1.</desc>`,
		`<text class="numbermap-on-unseen" x="0.5 2.5" y="0.7">UU</text>`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("%s lacks %s", svg, want)
		}
	}
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", svg, err)
		}
	}
	legend := string(m.Legend())
	if !strings.Contains(legend, `<span class="numbermap-key numbermap-on-success">S</span> success: 1</li>`) ||
		strings.Contains(legend, "failed") {
		t.Errorf("legend %s", legend)
	}
}

// luminance of a colour #rgb or #rrggbb, by WCAG 2.2.
func luminance(colour string) float64 {
	if len(colour) == 4 {
		colour = string([]byte{'#', colour[1], colour[1], colour[2], colour[2], colour[3], colour[3]})
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		value, _ := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		c := float64(value) / 255
		if c <= 0.03928 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// Every state has a colour in the light and in the dark scheme on which its letter is readable, and
// the rules that use it.
func TestCSS_Contrast(t *testing.T) {
	t.Parallel()
	light, dark, found := strings.Cut(numbermap.CSS, "@media screen and (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("no dark scheme")
	}
	for _, state := range numbermap.States() {
		for scheme, rules := range map[string]string{"light": light, "dark": dark} {
			var colours []string
			for _, name := range []string{"--numbermap-", "--numbermap-on-"} {
				match := regexp.MustCompile(name + class(state) + `: (#[0-9a-f]+);`).FindStringSubmatch(rules)
				if match == nil {
					t.Fatalf("%s: no colour %s%s", scheme, name, state)
				}
				colours = append(colours, match[1])
			}
			high, low := luminance(colours[0]), luminance(colours[1])
			if ratio := (max(high, low) + 0.05) / (min(high, low) + 0.05); ratio < 4.5 {
				t.Errorf("%s, %s: the letter has a contrast of %.2f", scheme, state, ratio)
			}
		}
		for _, rule := range []string{
			fmt.Sprintf(".numbermap-%s { stroke: var(--numbermap-%s); }", class(state), class(state)),
			fmt.Sprintf("background: var(--numbermap-%s); }", class(state)),
		} {
			if !strings.Contains(numbermap.CSS, rule) {
				t.Errorf("no rule %s", rule)
			}
		}
	}
}

func BenchmarkSVG(b *testing.B) {
	m := random(contract.Range{Start: 1, End: contract.MaxNumber}, 0.7)
	for b.Loop() {
		_ = m.SVG("map", "all")
	}
}
