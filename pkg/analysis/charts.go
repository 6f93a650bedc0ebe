package analysis

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"fct-scraper/pkg/stats"
)

// Chart is one figure of the page.
type Chart struct {
	ID, Title, Desc string
	// Images are the same drawing for each layout of the page; none if there is nothing to draw.
	Images []template.HTML
	// Note says how to read the chart.
	Note  string
	Table *Table
}

// layout is a width for which a chart is drawn, and its class.
type layout struct {
	class string
	width float64
}

const (
	phoneWidth = 320
	halfWidth  = 440
)

// fullLayouts are those of a chart as wide as the page, halfLayouts of one that stands beside another.
func fullLayouts() []layout {
	return []layout{{"phone", phoneWidth}, {"tablet", 600}, {"desk", 900}}
}

func halfLayouts() []layout { return []layout{{"phone", phoneWidth}, {"tablet desk", halfWidth}} }

// draw draws a chart for each layout.
func (c *Chart) draw(layouts []layout, draw func(width float64) *canvas) {
	for _, l := range layouts {
		id := c.ID + "-" + strings.Fields(l.class)[0]
		c.Images = append(c.Images, draw(l.width).element(id, l.class, c.Title, c.Desc))
	}
}

// stack is one bar of a stacked chart.
type stack struct {
	label string
	parts []int // from below
}

// stackedBars draws bars with a label for each part beside the last bar, or in a narrow image above all
// bars.
func stackedBars(width float64, bars []stack, names, classes []string) *canvas {
	c := &canvas{width: width, height: 300}
	labelWidth := 0.0
	for _, name := range names {
		labelWidth = max(labelWidth, widthOf(name))
	}
	const bottom, left, keyPitch = 40.0, 44.0, 17.0
	top, right := 22.0, width-labelWidth-28
	isAbove := right-left < width/2
	if isAbove {
		rows := float64((len(names) + 1) / 2)
		top, right = top+rows*keyPitch+12, width-8
		c.height += rows*keyPitch + 4
		for i := range names { // from the top part down, in two columns
			j := len(names) - 1 - i
			x, y := 8+float64(i%2)*(labelWidth+28), 14+keyPitch*float64(i/2)
			c.rect(x, y-8, 8, 8, classes[j])
			c.text(x+12, y, "start", "label", names[j])
		}
	}
	highest := 0
	for _, bar := range bars {
		highest = max(highest, sum(bar.parts))
	}
	y := niceScale(c.height-bottom, top, float64(highest), 4)
	for _, tick := range y.tickValues {
		c.line(left, y.at(tick), right, y.at(tick), "grid")
		c.text(left-8, y.at(tick)+4, "end", "axis", grouped(int(tick)))
	}
	pitch := (right - left) / float64(len(bars))
	bar := min(pitch*0.72, 56)
	for i, one := range bars {
		x := left + pitch*(float64(i)+0.5)
		below := 0
		for j, part := range one.parts {
			if part > 0 {
				c.rect(x-bar/2, y.at(float64(below+part)), bar, y.at(float64(below))-y.at(float64(below+part)),
					classes[j])
			}
			below += part
		}
		// A label every so many bars, as many as fit.
		every := max(1, int(math.Ceil((widthOf(one.label)+4)/pitch)))
		if i%every == 0 {
			c.text(x, c.height-bottom+18, "middle", "axis", one.label)
		}
		if pitch > widthOf(grouped(below)) {
			c.text(x, y.at(float64(below))-6, "middle", "value", grouped(below))
		}
	}
	if isAbove {
		return c
	}
	last := bars[len(bars)-1]
	var at []float64
	below := 0
	for _, part := range last.parts {
		at = append(at, y.at(float64(below)+float64(part)/2))
		below += part
	}
	edge := left + pitch*(float64(len(bars))-0.5) + bar/2
	// Beside a low bar the lines would run into each other: the labels are then a key, in the same order.
	isKey := below*3 < highest
	if isKey {
		for j := range at {
			at[j] = (top+c.height-bottom)/2 - keyPitch*float64(j)
		}
	}
	for j, labelY := range spread(at, keyPitch, top+6, c.height-bottom) {
		if !isKey {
			c.path(fmt.Sprintf("M%.1f %.1fL%.1f %.1f", edge+2, at[j], right+10, labelY), "leader")
		}
		c.rect(right+12, labelY-4, 8, 8, classes[j])
		c.text(right+24, labelY+4, "start", "label", names[j])
	}
	return c
}

func sum(all []int) (total int) {
	for _, n := range all {
		total += n
	}
	return total
}

// spread moves positions, which fall from first to last, apart by at least a distance, within bounds.
func spread(at []float64, distance, lowest, highest float64) []float64 {
	moved := slices.Clone(at)
	for i := range moved {
		limit := highest
		if i > 0 {
			limit = moved[i-1] - distance
		}
		moved[i] = min(moved[i], limit)
	}
	for i := len(moved) - 1; i >= 0; i-- {
		limit := lowest
		if i < len(moved)-1 {
			limit = moved[i+1] + distance
		}
		moved[i] = max(moved[i], limit)
	}
	return moved
}

// bar is one bar of a bar chart.
type bar struct {
	label string
	value int
	note  string
	class string
}

// bars draws horizontal bars, each with its value.
func bars(width float64, all []bar) *canvas {
	const pitch, thick = 30.0, 16.0
	c := &canvas{width: width, height: pitch*float64(len(all)) + 8}
	labelWidth, noteWidth, highest := 0.0, 0.0, 0
	for _, b := range all {
		labelWidth = max(labelWidth, widthOf(b.label))
		noteWidth = max(noteWidth, widthOf(b.note))
		highest = max(highest, b.value)
	}
	labelWidth = min(labelWidth, width*0.45)
	x := scale{from: labelWidth + 10, to: width - noteWidth - 8, high: float64(max(highest, 1))}
	for i, b := range all {
		y := 4 + pitch*(float64(i)+0.5)
		c.text(labelWidth, y+4, "end", "label", fit(b.label, labelWidth))
		end := x.at(float64(b.value))
		if b.value > 0 {
			c.rect(x.from, y-thick/2, max(end-x.from, 1), thick, b.class)
		}
		c.text(end+6, y+4, "start", "value", b.note)
	}
	return c
}

// boxRow is one box plot of a chart.
type boxRow struct {
	label string
	box   stats.Box
}

// boxes draws box plots in rows over an axis of days, whose name is given.
func boxes(width float64, rows []boxRow, axis string) *canvas {
	const side, thick, top, bottom, linePitch = 12.0, 18.0, 4.0, 42.0, 15.0
	// In a narrow image the numbers have a line of their own.
	lines := make([][]string, len(rows))
	isNarrow := false
	for i, r := range rows {
		numbers := fmt.Sprintf("n = %s · median %s", grouped(r.box.Size), days(r.box.Median))
		lines[i] = []string{r.label, numbers}
		isNarrow = isNarrow || widthOf(r.label+" · "+numbers) > width-2*side
	}
	pitch := 50.0
	if isNarrow {
		pitch += linePitch
	}
	c := &canvas{width: width, height: top + pitch*float64(len(rows)) + bottom}
	highest := 0
	for _, r := range rows {
		highest = max(highest, r.box.Max)
	}
	x := niceScale(side, width-side, float64(highest), 5)
	base := c.height - bottom
	for _, tick := range x.tickValues {
		c.line(x.at(tick), top, x.at(tick), base, "grid")
		c.text(x.at(tick), base+16, "middle", "axis", grouped(int(tick)))
	}
	c.text(width/2, base+34, "middle", "axis", axis)
	for i, r := range rows {
		y := top + pitch*float64(i)
		b := r.box
		if isNarrow {
			for j, line := range lines[i] {
				c.text(side, y+13+linePitch*float64(j), "start", "label halo", line)
			}
		} else {
			c.text(side, y+13, "start", "label halo", strings.Join(lines[i], " · "))
		}
		middle := y + pitch - thick
		c.line(x.at(float64(b.Lower)), middle, x.at(float64(b.Upper)), middle, "whisker")
		for _, end := range []int{b.Lower, b.Upper} {
			c.line(x.at(float64(end)), middle-4, x.at(float64(end)), middle+4, "whisker")
		}
		c.rect(x.at(b.Q1), middle-thick/2, max(x.at(b.Q3)-x.at(b.Q1), 1), thick, "box")
		c.line(x.at(b.Median), middle-thick/2, x.at(b.Median), middle+thick/2, "median")
		if b.AboveTop > 0 {
			c.circle(x.at(float64(b.Max)), middle, 2.5, "outlier")
		}
		if b.BelowLow > 0 {
			c.circle(x.at(float64(b.Min)), middle, 2.5, "outlier")
		}
	}
	return c
}

// survival draws a survival curve with its confidence band, its median and the numbers at risk. The median
// has the first text that fits beside the curve.
func survival(width float64, curve []stats.Step, median stats.Time, medianTexts ...string) *canvas {
	const left, right, top, bottom = 44.0, 14.0, 14.0, 74.0
	c := &canvas{width: width, height: 300}
	base := c.height - bottom
	last := curve[len(curve)-1].Time
	x := niceScale(left, width-right, float64(last), 5)
	y := shareScale(base, top)
	for _, tick := range y.tickValues {
		c.line(left, y.at(tick), width-right, y.at(tick), "grid")
		c.text(left-8, y.at(tick)+4, "end", "axis", fmt.Sprintf("%.0f%%", 100*tick))
	}
	c.text(left, base+54, "start", "axis", "still at risk")
	for _, tick := range x.tickValues {
		c.text(x.at(tick), base+16, "middle", "axis", grouped(int(tick)))
		c.text(x.at(tick), base+69, "middle", "axis", grouped(atRisk(curve, int(tick))))
	}
	c.text((left+width-right)/2, base+34, "middle", "axis", "days after filing")
	var upper, lower, line strings.Builder
	fmt.Fprintf(&line, "M%.1f %.1f", x.at(0), y.at(1))
	type point struct{ x, y float64 }
	var back []point
	for i, s := range curve {
		fmt.Fprintf(&line, "H%.1fV%.1f", x.at(float64(s.Time)), y.at(s.Survival))
		if math.IsNaN(s.Lower) {
			continue
		}
		next := s.Time
		if i+1 < len(curve) {
			next = curve[i+1].Time
		}
		command := "L"
		if upper.Len() == 0 {
			command = "M"
		}
		fmt.Fprintf(&upper, "%s%.1f %.1fH%.1f", command, x.at(float64(s.Time)), y.at(s.Upper), x.at(float64(next)))
		back = append(back, point{x.at(float64(s.Time)), y.at(s.Lower)}, point{x.at(float64(next)), y.at(s.Lower)})
	}
	for _, p := range slices.Backward(back) {
		fmt.Fprintf(&lower, "L%.1f %.1f", p.x, p.y)
	}
	if upper.Len() > 0 {
		c.path(upper.String()+lower.String()+"Z", "band")
	}
	c.path(line.String(), "curve")
	if median.Reached {
		at := x.at(float64(median.Value))
		c.path(fmt.Sprintf("M%.1f %.1fH%.1fV%.1f", x.at(0), y.at(0.5), at, base), "mark")
		c.circle(at, y.at(0.5), 3.5, "dot")
		fits := slices.IndexFunc(medianTexts, func(text string) bool { return at+10+widthOf(text) < width })
		if fits >= 0 {
			c.text(at+10, y.at(0.5)-8, "start", "label halo", medianTexts[fits])
		} else {
			c.text(at-10, y.at(0.5)+18, "end", "label halo", medianTexts[len(medianTexts)-1])
		}
	} else {
		c.text(width-right, top+12, "end", "label halo", medianTexts[0])
	}
	return c
}

// atRisk returns how many are at risk at a time.
func atRisk(curve []stats.Step, time int) int {
	for _, s := range curve {
		if s.Time >= time {
			return s.AtRisk
		}
	}
	return 0
}

// rate is one row of a chart of shares.
type rate struct {
	label    string
	share    float64
	interval stats.Interval
	isFolded bool
}

// rates draws shares with their intervals, and the overall share as a line.
func rates(width float64, all []rate, overall float64, overallText string) *canvas {
	const pitch, top, bottom = 24.0, 26.0, 26.0
	c := &canvas{width: width, height: top + pitch*float64(len(all)) + bottom}
	labelWidth := 0.0
	for _, r := range all {
		labelWidth = max(labelWidth, widthOf(r.label))
	}
	labelWidth = min(labelWidth, width*0.4)
	highest := overall
	for _, r := range all {
		highest = max(highest, r.interval.Upper)
	}
	const tickWidth = 60 // a label of 100% and the space around it
	ticks := max(2, min(5, int((width-labelWidth-32)/tickWidth)))
	x := niceScale(labelWidth+14, width-18, 100*highest, ticks)
	base := c.height - bottom
	for _, tick := range x.tickValues {
		c.line(x.at(tick), top, x.at(tick), base, "grid")
		c.text(x.at(tick), base+18, "middle", "axis", fmt.Sprintf("%.0f%%", tick))
	}
	c.line(x.at(100*overall), top-4, x.at(100*overall), base, "mark")
	c.text(x.at(100*overall), top-10, "middle", "label", overallText)
	for i, r := range all {
		y := top + pitch*(float64(i)+0.5)
		class := "dot"
		if r.isFolded {
			class = "dot folded"
		}
		c.text(labelWidth, y+4, "end", "label", fit(r.label, labelWidth))
		c.line(x.at(100*r.interval.Lower), y, x.at(100*r.interval.Upper), y, "interval")
		c.circle(x.at(100*r.share), y, 4, class)
	}
	return c
}
