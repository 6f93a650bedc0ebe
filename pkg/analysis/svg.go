package analysis

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"unicode"
)

// canvas draws one SVG image. Colours come from the classes of the page's style.
type canvas struct {
	width, height float64
	b             strings.Builder
}

const textSize = 12.0

// widthOf estimates the width of a text from above: in common sans-serif fonts, bold ones too, no
// letter is wider.
func widthOf(s string) float64 {
	width := 2.0
	for _, r := range s {
		width += widthOfRune(r)
	}
	return width
}

func widthOfRune(r rune) float64 {
	switch {
	case strings.ContainsRune("MWmw@%—…", r), r > 0x2e7f:
		return 1.05 * textSize
	case strings.ContainsRune("fijlrt .,:·'()-", r):
		return 0.5 * textSize
	case unicode.IsUpper(r):
		return 0.8 * textSize
	}
	return 0.7 * textSize
}

// fit cuts a text to a width.
func fit(s string, width float64) string {
	if widthOf(s) <= width {
		return s
	}
	left := width - widthOf("…")
	for i, r := range s {
		if left -= widthOfRune(r); left < 0 {
			return strings.TrimSpace(s[:i]) + "…"
		}
	}
	return s
}

func (c *canvas) rect(x, y, width, height float64, class string) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`, x, y, max(0, width),
		max(0, height), class)
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (c *canvas) circle(x, y, r float64, class string) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="%.1f" class="%s"/>`, x, y, r, class)
}

func (c *canvas) path(d, class string) { fmt.Fprintf(&c.b, `<path d="%s" class="%s"/>`, d, class) }

// text writes a text with its baseline at y. anchor is start, middle or end. It is moved or cut so
// that it stays inside the image.
func (c *canvas) text(x, y float64, anchor, class, s string) {
	s = fit(s, c.width)
	width := widthOf(s)
	switch anchor {
	case "start":
		x = min(x, c.width-width)
	case "end":
		x = max(x, width)
	default:
		x = min(max(x, width/2), c.width-width/2)
	}
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class,
		html.EscapeString(s))
}

// element returns the image, shown in the layouts that class names.
func (c *canvas) element(id, class, title, desc string) template.HTML {
	//nolint:gosec // all texts are escaped here or in text
	return template.HTML(fmt.Sprintf(
		`<svg class="%s" viewBox="0 0 %.0f %.0f" role="img" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>%s</svg>`,
		class, c.width, c.height, id, id, id, html.EscapeString(title), id, html.EscapeString(desc), c.b.String()))
}

// scale maps values to positions.
type scale struct {
	from, to   float64 // positions
	low, high  float64 // values
	tickValues []float64
}

func (s scale) at(value float64) float64 {
	if s.high == s.low {
		return s.from
	}
	return s.from + (value-s.low)/(s.high-s.low)*(s.to-s.from)
}

// niceScale returns a scale from 0 to at least high, with about n ticks at round values.
func niceScale(from, to, high float64, n int) scale {
	if high <= 0 {
		high = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(high/float64(n))))
	for _, factor := range []float64{1, 2, 5, 10} {
		if high/(step*factor) <= float64(n) {
			step *= factor
			break
		}
	}
	step = max(step, 1)
	s := scale{from: from, to: to, high: math.Ceil(high/step) * step}
	for value := 0.0; value <= s.high+step/2; value += step {
		s.tickValues = append(s.tickValues, value)
	}
	return s
}

// shareScale returns a scale from 0 to 1 with ticks at quarters.
func shareScale(from, to float64) scale {
	return scale{from: from, to: to, high: 1, tickValues: []float64{0, 0.25, 0.5, 0.75, 1}}
}
