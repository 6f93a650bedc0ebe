package site

// What the tests look at from inside.
var (
	Day        = day
	RetryAfter = retryAfter
	Normalized = normalized
)

// MaxWait is the longest that a site is believed.
const MaxWait = maxWait

// BlockTexts are the texts of a profile's blocks, in small letters.
func BlockTexts(p *Profile) []string {
	var texts []string
	for _, rule := range p.blocks {
		for _, text := range rule.text {
			texts = append(texts, string(text))
		}
	}
	return texts
}
