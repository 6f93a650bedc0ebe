package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/stats"
)

const (
	// confidence is that of all intervals.
	confidence = 0.95
	// fewestDecisions is how many decisions on leave a judge needs for a row of their own.
	fewestDecisions = 20
	// mostOffices is how many offices a chart shows; its file has all.
	mostOffices = 14
)

// group is several statuses that a chart shows as one.
type group struct {
	name, class string
	statuses    []string
}

func groups() []group {
	return []group{
		{"Dismissed", "fill-dismissed", []string{facts.StatusLeaveDismissed, facts.StatusDismissed}},
		{"Discontinued, other", "fill-other", []string{facts.StatusDiscontinued, facts.StatusClosedOther}},
		{"Granted", "fill-granted", []string{facts.StatusGranted, facts.StatusOnConsent}},
		{"Open", "fill-open", []string{facts.StatusAwaitingLeave, facts.StatusActive}},
	}
}

// status is a value of facts.Case.Status and its name on the page.
type status struct{ value, name string }

func statuses() []status {
	return []status{
		{facts.StatusAwaitingLeave, "Awaiting leave"},
		{facts.StatusActive, "Active"},
		{facts.StatusLeaveDismissed, "Leave dismissed"},
		{facts.StatusDismissed, "Dismissed"},
		{facts.StatusGranted, "Granted"},
		{facts.StatusOnConsent, "Granted on consent"},
		{facts.StatusDiscontinued, "Discontinued"},
		{facts.StatusClosedOther, "Closed otherwise"},
	}
}

// Options describe a report.
type Options struct {
	// Program is name and version of the program, Now the time of the report.
	Program string
	Now     time.Time
	// From says where the records come from.
	From string
}

// Report is the result of an analysis.
type Report struct {
	Options
	Title string
	// Figures are the most important numbers.
	Figures  []Figure
	Sections []Section
	// Cases, Open and Conflicting are numbers of cases.
	Cases, Open, Conflicting int
	// Oldest and Newest are the first and the last time at which a record was fetched.
	Oldest, Newest time.Time
}

// Figure is one important number.
type Figure struct{ Value, Label string }

// Section is one part of the page.
type Section struct {
	ID, Title string
	// Text are paragraphs, Points are listed below them.
	Text, Points []string
	Charts       []Chart
}

// Tables returns all tables of the report.
func (r *Report) Tables() (tables []*Table) {
	for _, s := range r.Sections {
		for i := range s.Charts {
			if s.Charts[i].Table != nil {
				tables = append(tables, s.Charts[i].Table)
			}
		}
	}
	return tables
}

// reporter builds a report from the sum of all tallies.
type reporter struct {
	*Tally
	numbers  map[seriesYear]*numbers
	coverage bool
}

// Report returns what the tallies counted. No tally may be in use.
func (a *Analysis) Report(o Options) *Report {
	t := reporter{a.total(), a.numbers, a.coverage}
	open := t.statuses[facts.StatusAwaitingLeave] + t.statuses[facts.StatusActive]
	r := &Report{
		Options: o, Title: t.title(), Cases: t.cases, Open: open, Conflicting: t.conflicting, Oldest: t.oldest,
		Newest: t.newest,
	}
	curve := stats.KaplanMeier(t.decided, t.undecided, confidence)
	median, lower, upper := stats.SurvivalQuantile(curve, 0.5)
	decisions, granted := t.leaveDecisions()
	r.Figures = []Figure{
		{grouped(t.cases), "court files"},
		{grouped(open), "still open, " + percentOf(open, t.cases)},
		{timeText(median), "days to the first decision, median" + intervalText(lower, upper)},
		{percentOf(granted, decisions), "of " + grouped(decisions) + " leave decisions granted"},
	}
	r.Sections = []Section{t.volumeSection(), t.timeSection(curve), t.outcomeSection(), t.officeSection(),
		t.judgeSection(), t.rule9Section(), t.limitSection()}
	return r
}

// title names the series and years.
func (r *reporter) title() string {
	var names []string
	for _, key := range sortedKeys(r.numbers) {
		names = append(names, fmt.Sprintf("%s %d", key.series, contract.FullYear(key.year)))
	}
	if len(names) > 3 {
		names = []string{names[0], "…", names[len(names)-1]}
	}
	if len(names) == 0 {
		return "Court files"
	}
	return "Court files " + strings.Join(names, ", ")
}

func sortedKeys(m map[seriesYear]*numbers) []seriesYear {
	return slices.SortedFunc(maps.Keys(m), func(a, b seriesYear) int {
		return cmp.Or(cmp.Compare(a.series, b.series),
			cmp.Compare(contract.FullYear(a.year), contract.FullYear(b.year)))
	})
}

// volumeSection shows how many cases were filed. Of more than three years it counts years, not months.
func (r *reporter) volumeSection() Section {
	months := r.allMonths()
	table := &Table{File: "volume.csv", Caption: "Cases by month of filing and status",
		Columns: []Column{{"month", "Month", asText}}}
	for _, s := range statuses() {
		table.Columns = append(table.Columns, Column{s.value, s.name, asCount})
	}
	table.Columns = append(table.Columns, Column{"cases", "Cases", asCount})
	for _, month := range months {
		row := []Cell{text(month)}
		total := 0
		for _, s := range statuses() {
			row = append(row, count(r.months[month][s.value]))
			total += r.months[month][s.value]
		}
		table.Rows = append(table.Rows, append(row, count(total)))
	}
	chart := Chart{
		ID: "volume", Title: "Cases by month of filing", Table: table,
		Desc: "Bars of the number of cases filed in each month, stacked by where the case stands: dismissed, discontinued or otherwise closed, granted, open.",
	}
	if bars := r.stacks(months); len(bars) > 0 {
		var names, classes []string
		for _, g := range groups() {
			names, classes = append(names, g.name), append(classes, g.class)
		}
		chart.draw(fullLayouts(), func(width float64) *canvas { return stackedBars(width, bars, names, classes) })
	}
	s := Section{ID: "volume", Title: "How many cases were filed", Charts: []Chart{chart}}
	busiest, most := "", 0
	for _, month := range months {
		if n := total(r.months[month]); n > most {
			busiest, most = month, n
		}
	}
	filed := counted(r.cases-r.notFiled, "case was filed", "cases were filed")
	switch {
	case busiest == "":
		s.Text = append(s.Text, "No record states the day of filing.")
	case len(months) == 1:
		s.Text = append(s.Text, fmt.Sprintf("%s in %s.", filed, monthText(busiest)))
	default:
		s.Text = append(s.Text, fmt.Sprintf("%s between %s and %s, most of them (%s) in %s.", filed,
			monthText(months[0]), monthText(months[len(months)-1]), grouped(most), monthText(busiest)))
	}
	s.Text = append(s.Text, "The last month is incomplete if the files were collected before its end. “Granted” and “dismissed” are the result of the "+
		"case, on leave or on the application itself.")
	return s
}

// allMonths returns the months from the first to the last, with those in which nothing was filed.
func (r *reporter) allMonths() (all []string) {
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(r.months)), func(month string) bool { return month == "" })
	if len(known) == 0 {
		return nil
	}
	at, _ := time.Parse("2006-01", known[0]) // volume made it of a day
	for {
		month := at.Format("2006-01")
		all = append(all, month)
		if month >= known[len(known)-1] {
			return all
		}
		at = at.AddDate(0, 1, 0)
	}
}

func (r *reporter) stacks(months []string) (all []stack) {
	byYear, form := len(months) > 36, "Jan"
	switch {
	case byYear:
		form = "2006"
	case len(months) > 12:
		form = "Jan 06"
	}
	for _, month := range months {
		at, _ := time.Parse("2006-01", month) // volume made it of a day
		label := at.Format(form)
		if len(all) == 0 || !byYear || all[len(all)-1].label != label {
			all = append(all, stack{label, make([]int, len(groups()))})
		}
		for i, g := range groups() {
			for _, s := range g.statuses {
				all[len(all)-1].parts[i] += r.months[month][s]
			}
		}
	}
	return all
}

// timeSection shows how long cases take.
func (r *reporter) timeSection(curve []stats.Step) Section {
	open := r.statuses[facts.StatusAwaitingLeave] + r.statuses[facts.StatusActive]
	all := stats.Sample{}
	for _, sample := range r.toClose {
		all.Merge(sample)
	}
	table := &Table{File: "time_to_close.csv", Caption: "Days from filing to closing, of closed cases",
		Columns: []Column{
			{"status", "How it ended", asText}, {"cases", "Cases", asCount}, {"minimum", "Min", asDays},
			{"whisker_low", "Whisker", asDays},
			{"quartile_1", "1st quartile", asDays}, {"median", "Median", asDays},
			{"quartile_3", "3rd quartile", asDays},
			{"whisker_high", "Whisker", asDays}, {"maximum", "Max", asDays}, {"beyond_whiskers", "Beyond", asCount},
		}}
	var rows []boxRow
	add := func(value, name string, sample stats.Sample) {
		b, ok := stats.BoxPlot(sample)
		if !ok {
			return
		}
		rows = append(rows, boxRow{name, b})
		table.Rows = append(table.Rows, []Cell{text(value), count(b.Size), count(b.Min), count(b.Lower), number(b.Q1),
			number(b.Median),
			number(b.Q3), count(b.Upper), count(b.Max), count(b.BelowLow + b.AboveTop)})
	}
	add("all", "All closed", all)
	for _, s := range statuses() {
		add(s.value, s.name, r.toClose[s.value])
	}
	box := Chart{
		ID: "close", Title: "Time to close, closed cases only", Table: table,
		Desc: "Box plots of the days from filing to closing: all closed cases, then by how the case ended.",
		Note: "Box: quartiles and median. Whiskers: last value within 1.5 box lengths. Dot: most extreme value beyond them.",
	}
	if len(rows) > 0 {
		box.draw(halfLayouts(), func(width float64) *canvas { return boxes(width, rows, "days after filing") })
	}
	s := Section{ID: "time", Title: "How long cases take", Charts: []Chart{box, r.decisionChart(curve)}}
	s.Text = append(s.Text, fmt.Sprintf("%s closed and %s still open. The box plots leave out the open cases, of which many are slow: "+
		"their medians are too short. The curve counts open cases for as long as they have been observed.",
		counted(all.Size(), "case has", "cases have"), counted(open, "is", "are")))
	return s
}

func (r *reporter) decisionChart(curve []stats.Step) Chart {
	median, lower, upper := stats.SurvivalQuantile(curve, 0.5)
	table := curveTable("first_decision.csv", "Kaplan-Meier estimate of the time to the first decision", curve)
	chart := Chart{
		ID: "decision", Title: "Time to the first decision, all cases", Table: table,
		Desc: "Kaplan-Meier curve of the share of cases without a decision by days after filing, with a 95% band. Median " + timeText(median) + " days.",
		Note: fmt.Sprintf("Share of cases without a first decision (leave, review, or another that ended the case). Band: 95%%, pointwise. "+
			"%s decided; %s without a decision when last observed, of them %s discontinued.",
			grouped(r.decided.Size()), grouped(r.undecided.Size()), grouped(r.discontinued)),
	}
	if len(curve) > 0 && curve[len(curve)-1].Time > 0 {
		labels := []string{"median not reached"}
		if median.Reached {
			short := "median " + grouped(median.Value) + " days"
			labels = []string{short + intervalText(lower, upper), short}
		}
		chart.draw(halfLayouts(), func(width float64) *canvas { return survival(width, curve, median, labels...) })
	}
	return chart
}

// curveTable is a survival curve as a table. The page shows about twelve of its steps.
func curveTable(file, caption string, curve []stats.Step) *Table {
	t := &Table{File: file, Caption: caption, Columns: []Column{
		{"days", "Days", asDays}, {"at_risk", "At risk", asCount}, {"events", "Decided", asCount},
		{"censored", "Censored", asCount},
		{"survival", "Without", asShare}, {"standard_error", "Std. error", asShare},
		{"lower_95", "95% from", asShare}, {"upper_95", "to", asShare},
	}}
	for _, s := range curve {
		t.Rows = append(t.Rows, []Cell{count(s.Time), count(s.AtRisk), count(s.Events), count(s.Censored),
			number(s.Survival),
			number(s.StdErr), number(s.Lower), number(s.Upper)})
	}
	if len(curve) > 14 {
		shown := map[float64]bool{}
		for i := range 13 {
			step, found := stats.At(curve, curve[0].Time+(curve[len(curve)-1].Time-curve[0].Time)*i/12)
			if found {
				shown[float64(step.Time)] = true
			}
		}
		t.short = func(row []Cell) bool { return shown[row[0].Number] }
	}
	return t
}

// outcomeSection shows where the cases stand.
func (r *reporter) outcomeSection() Section {
	table := &Table{File: "outcomes.csv", Caption: "Cases by status", Columns: []Column{
		{"status", "Status", asText}, {"cases", "Cases", asCount}, {"share", "Share", asShare},
	}}
	var all []bar
	for _, s := range statuses() {
		n := r.statuses[s.value]
		table.Rows = append(table.Rows, []Cell{text(s.value), count(n), number(ratio(n, r.cases))})
		class := ""
		for _, g := range groups() {
			if slices.Contains(g.statuses, s.value) {
				class = g.class
			}
		}
		all = append(all, bar{s.name, n, grouped(n) + " · " + percentOf(n, r.cases), class})
	}
	chart := Chart{ID: "outcomes", Title: "Where the cases stand", Desc: "Bars of the number of cases by status.",
		Table: table}
	if r.cases > 0 {
		chart.draw(fullLayouts(), func(width float64) *canvas { return bars(width, all) })
	}
	closed := r.cases - r.statuses[facts.StatusAwaitingLeave] - r.statuses[facts.StatusActive]
	won := r.statuses[facts.StatusGranted] + r.statuses[facts.StatusOnConsent]
	s := Section{ID: "outcomes", Title: "How cases end", Charts: []Chart{chart}}
	if closed > 0 {
		i := stats.Wilson(won, closed, confidence)
		s.Text = append(s.Text, fmt.Sprintf("Of %s closed cases %s ended with the application granted: %s (95%% interval %s to %s). "+
			"Cases that close early end differently from those that are still open, so this share changes as a year ages.",
			grouped(closed), grouped(won), percentOf(won, closed), percent(i.Lower), percent(i.Upper)))
	}
	return s
}

// officeSection shows the offices of the court and the visa offices.
func (r *reporter) officeSection() Section {
	s := Section{ID: "offices", Title: "Where cases come from"}
	for _, kind := range []struct {
		id, file, title, column string
		of                      map[string]*office
		unknown                 string
	}{
		{"offices", "offices.csv", "Cases by registry office", "Registry office", r.offices, "not stated"},
		{"visa", "visa_offices.csv", "Cases by visa office", "Visa office", r.visas, "none named"},
	} {
		names := slices.SortedFunc(maps.Keys(kind.of), func(a, b string) int {
			return cmp.Or(cmp.Compare(kind.of[b].cases, kind.of[a].cases), cmp.Compare(a, b))
		})
		table := &Table{File: kind.file, Caption: kind.title, Columns: []Column{
			{"office", kind.column, asText}, {"cases", "Cases", asCount}, {"open", "Open", asCount},
			{"median_days_to_close", "Median days to close", asDays}, {"leave_decisions", "Leave decisions", asCount},
			{"leave_granted", "Granted", asCount}, {"rate", "Rate", asShare}, {"lower_95", "95% from", asShare},
			{"upper_95", "to", asShare},
		}}
		var all []bar
		rest, restOffices := 0, 0
		for _, name := range names {
			o := kind.of[name]
			i := stats.Wilson(o.granted, o.decisions, confidence)
			label := name
			if name == "" {
				label = kind.unknown
			}
			table.Rows = append(table.Rows, []Cell{text(label), count(o.cases), count(o.open),
				number(o.toClose.Quantiles(0.5)[0]),
				count(o.decisions), count(o.granted), number(ratio(o.granted, o.decisions)), number(i.Lower),
				number(i.Upper)})
			switch {
			case name == "":
			case len(all) < mostOffices:
				all = append(all, bar{name, o.cases, grouped(o.cases), "fill-granted"})
			default:
				rest += o.cases
				restOffices++
			}
		}
		if rest > 0 {
			all = append(all, bar{fmt.Sprintf("%d others", restOffices), rest, grouped(rest), "fill-other"})
		}
		unknown := 0
		if o := kind.of[""]; o != nil {
			unknown = o.cases
		}
		chart := Chart{
			ID: kind.id, Title: kind.title, Table: table, Desc: "Bars of the number of cases by office.",
		}
		if unknown > 0 {
			chart.Note = fmt.Sprintf("%s of %s cases (%s) name no office.", grouped(unknown), grouped(r.cases),
				percentOf(unknown, r.cases))
		}
		if len(all) > 0 {
			chart.draw(halfLayouts(), func(width float64) *canvas { return bars(width, all) })
		}
		s.Charts = append(s.Charts, chart)
	}
	s.Text = append(s.Text, "The registry office is that of the header, else that of the first entry of the docket. "+
		"The visa office is the one whose decision is under review, "+
		"if the nature of the proceeding or the opening entry names it.")
	return s
}

func (r *reporter) leaveDecisions() (decisions, granted int) {
	for _, j := range r.judges {
		decisions += j.decisions
		granted += j.granted
	}
	return decisions, granted
}

// judgeSection shows the decisions on leave by judge.
func (r *reporter) judgeSection() Section {
	type row struct {
		name string
		judge
		isFolded bool
	}
	var rows []row
	few, fewJudges := judge{}, 0
	for _, key := range slices.Sorted(maps.Keys(r.judges)) {
		j := r.judges[key]
		switch {
		case key == "":
		case j.decisions < fewestDecisions:
			few.decisions += j.decisions
			few.granted += j.granted
			fewJudges++
		default:
			rows = append(rows, row{name: j.name(), judge: *j})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Compare(ratio(b.granted, b.decisions), ratio(a.granted, a.decisions))
	})
	named := len(rows)
	if fewJudges > 0 {
		rows = append(rows, row{fmt.Sprintf("%d with under %d decisions", fewJudges, fewestDecisions), few, true})
	}
	if j := r.judges[""]; j != nil {
		rows = append(rows, row{"no judge named", *j, true})
	}
	table := &Table{File: "judges.csv", Caption: "Decisions on leave by judge", Columns: []Column{
		{"judge", "Judge", asText}, {"leave_decisions", "Leave decisions", asCount},
		{"leave_granted", "Granted", asCount},
		{"rate", "Rate", asShare}, {"lower_95", "95% from", asShare}, {"upper_95", "to", asShare},
	}}
	var all []rate
	add := func(name string, j judge, isFolded bool) {
		i := stats.Wilson(j.granted, j.decisions, confidence)
		table.Rows = append(table.Rows, []Cell{text(name), count(j.decisions), count(j.granted),
			number(ratio(j.granted, j.decisions)), number(i.Lower), number(i.Upper)})
		all = append(all, rate{name, ratio(j.granted, j.decisions), i, isFolded})
	}
	for _, one := range rows {
		add(one.name, one.judge, one.isFolded)
	}
	decisions, granted := r.leaveDecisions()
	chart := Chart{
		ID: "judges", Title: "Share of leave decisions granted, by judge", Table: table,
		Desc: "For each judge with at least 20 decisions the share of leave decisions granted, with its 95% Wilson interval.",
	}
	if decisions > 0 {
		drawn := slices.Clone(all)
		overall := ratio(granted, decisions)
		chart.draw(fullLayouts(), func(width float64) *canvas {
			return rates(width, drawn, overall,
				"all "+percent(overall))
		})
		chart.Note = "Dot: share granted. Line: 95% Wilson interval. Hollow dots: judges with few decisions together, decisions that name no judge."
		add("all", judge{decisions: decisions, granted: granted}, false)
	}
	s := Section{ID: "judges", Title: "Who decides on leave", Charts: []Chart{chart}}
	if decisions == 0 {
		s.Text = append(s.Text, "No record shows a decision on leave.")
		return s
	}
	s.Text = append(s.Text,
		fmt.Sprintf("%s on leave, %s of them granted. %s at least %d.", counted(decisions, "decision", "decisions"),
			grouped(granted),
			counted(named, "judge made", "judges made"), fewestDecisions),
		"An interval is for one judge alone: among twenty judges who decide alike, one interval misses the common share by chance. Judges "+
			"decide different mixes of cases, so a difference is not by itself a difference between judges. A judge counts under the name in the last "+
			"decision on leave; two judges of one name count as one.")
	return s
}

// rule9Section shows the wait for the tribunal's answer.
func (r *reporter) rule9Section() Section {
	curve := stats.KaplanMeier(r.answered, r.unanswered, confidence)
	median, lower, upper := stats.SurvivalQuantile(curve, 0.5)
	table := curveTable("rule9.csv", "Days from the first request under Rule 9 to the answer: Kaplan-Meier estimate",
		curve)
	chart := Chart{
		ID: "rule9", Title: "Days from a Rule 9 request to its answer, answered requests only", Table: table,
		Desc: "Box plot of the days from the first request under Rule 9 to the answer.",
	}
	s := Section{ID: "rule9", Title: "Waiting for the tribunal's reasons (Rule 9)"}
	b, ok := stats.BoxPlot(r.answered)
	if !ok && len(r.unanswered) == 0 {
		s.Text = []string{"No record shows a request under Rule 9."}
		s.Charts = []Chart{{ID: "rule9", Title: chart.Title, Table: table}}
		return s
	}
	if ok {
		chart.draw(fullLayouts(), func(width float64) *canvas {
			return boxes(width, []boxRow{{"Answered", b}},
				"days after the request")
		})
	}
	s.Text = append(s.Text, fmt.Sprintf("%s answered; %s no answer when the case was closed or last fetched. Counting those too, the median wait is %s days%s.",
		counted(r.answered.Size(), "request was", "requests were"), counted(r.unanswered.Size(), "has", "have"),
		timeText(median), intervalText(lower, upper)))
	s.Charts = []Chart{chart}
	return s
}

// limitSection says what the data cannot say.
func (r *reporter) limitSection() Section {
	table := &Table{File: "coverage.csv", Caption: "Coverage of the numbers", Columns: []Column{
		{"series", "Series", asText}, {"year", "Year", asText}, {"highest", "Highest", asCount},
		{"records", "Records", asCount},
		{"no_record", "No record", asCount}, {"unconfirmed", "Unconfirmed", asCount}, {"failed", "Failed", asCount},
		{"without_outcome", "No outcome", asCount}, {"never_requested", "Never requested", asCount},
	}}
	if !r.coverage {
		table.Columns = append(table.Columns[:4:4], Column{"without_record", "Without record", asCount})
	}
	var sums [states]int
	var gaps []string
	for _, key := range sortedKeys(r.numbers) {
		var n [states]int
		list := r.numbers[key].state
		for _, s := range list[1:] {
			n[s]++
		}
		for s := range n {
			sums[s] += n[s]
		}
		row := []Cell{text(key.series), text(strconv.Itoa(contract.FullYear(key.year))), count(len(list) - 1),
			count(n[recorded])}
		if r.coverage {
			row = append(row, count(n[noRecord]), count(n[unconfirmed]), count(n[failed]), count(n[pending]))
		}
		table.Rows = append(table.Rows, append(row, count(n[unseen])))
		gaps = append(gaps, unseenRanges(key, list)...)
	}
	s := Section{ID: "limits", Title: "What these data cannot say",
		Charts: []Chart{{ID: "coverage", Title: "Coverage", Table: table}}}
	s.Points = r.limits(sums, gaps)
	return s
}

// unseenRanges returns the ranges of numbers of which nothing is known.
func unseenRanges(key seriesYear, list []state) (ranges []string) {
	for at := 1; at < len(list); at++ {
		if list[at] != unseen {
			continue
		}
		from := at
		for at+1 < len(list) && list[at+1] == unseen {
			at++
		}
		id := contract.CaseID{Series: key.series, Year: key.year, Number: from}
		name := id.String()
		if at > from {
			name += " to " + id.WithNumber(at).String()
		}
		ranges = append(ranges, name)
	}
	return ranges
}

// limits lists what is missing or doubtful.
func (r *reporter) limits(sums [states]int, gaps []string) (points []string) {
	add := func(is bool, format string, args ...any) {
		if is {
			points = append(points, fmt.Sprintf(format, args...))
		}
	}
	if !r.newest.IsZero() {
		add(true, "As of when: the files were fetched between %s and %s. What the court entered later is not here.",
			r.oldest.UTC().Format("2 January 2006, 15:04"), r.newest.UTC().Format("2 January 2006, 15:04 UTC"))
	}
	hosts := slices.Sorted(maps.Keys(r.hosts))
	if len(hosts) > 5 {
		hosts = append(hosts[:5], "…")
	}
	add(len(hosts) > 0, "Source of the records: %s.", strings.Join(hosts, ", "))
	if r.coverage {
		add(true, "Failed numbers: %s. Unconfirmed numbers without a record: %s. Requested without an outcome: %s. Their cases, if any, are not counted.",
			grouped(sums[failed]), grouped(sums[unconfirmed]), grouped(sums[pending]))
		add(true, "Numbers below the highest that were never requested: %s%s", grouped(sums[unseen]), gapText(gaps))
	} else {
		add(true, "Numbers below the highest without a record: %s%s Only files of records were read: whether the court has no such file, the "+
			"request failed or none was sent is not known here.", grouped(sums[unseen]), gapText(gaps))
	}
	empty := r.flags[contract.FlagHeaderOnly]
	add(true, "Records without a docket (header only): %s of %s. Their status is that of a new case, whatever happened in it.", grouped(empty), grouped(r.cases))
	if r.conflicting == 0 {
		add(true, "Conflicts between rules or entries: none.")
	} else {
		var parts []string
		for _, fact := range slices.Sorted(maps.Keys(r.conflicts)) {
			parts = append(parts, fmt.Sprintf("%s %s", fact, grouped(r.conflicts[fact])))
		}
		add(true, "Conflicts: in %s rules or entries disagree (%s). The page counts the value that the facts give, the last one of the docket.",
			cases(r.conflicting), strings.Join(parts, ", "))
	}
	add(true, "Dates: %s no day of filing, %s closed without a day. %s days in an impossible order, such as a decision before the filing or after "+
		"the file was fetched, and %s left out of the times.",
		counted(r.notFiled, "case has", "cases have"), counted(r.noDay, "is", "are"),
		counted(r.disorder, "case has", "cases have"),
		isAre(r.disorder))
	add(r.rule9Disorder > 0, "Rule 9: of %s the days are missing or in an impossible order.",
		counted(r.rule9Disorder, "request", "requests"))
	add(true, "Facts are read out of the docket by rules and can be wrong: the flag explain of fct-scraper facts "+
		"shows which rule gave a fact. What the registry does not enter, the page does not see. "+
		"A sealed or removed file looks like a number without a record.")
	add(true, "A discontinued case leaves the curve of first decisions on that day, as if it could still have been decided later. If discontinued cases differ "+
		"from others, the curve shows longer times than the parties live through.")
	return points
}

func gapText(gaps []string) string {
	const shown = 8
	switch {
	case len(gaps) == 0:
		return "."
	case len(gaps) > shown:
		return fmt.Sprintf(" (%s and %d more ranges).", strings.Join(gaps[:shown], ", "), len(gaps)-shown)
	}
	return " (" + strings.Join(gaps, ", ") + ")."
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// ratio returns a share; NaN of nothing.
func ratio(part, all int) float64 {
	if all == 0 {
		return math.NaN()
	}
	return float64(part) / float64(all)
}

func percentOf(part, all int) string { return shownNumber(ratio(part, all), asShare) }

func cases(n int) string { return counted(n, "case", "cases") }

// counted writes a number with the words that follow it.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func timeText(t stats.Time) string {
	if !t.Reached {
		return "not reached"
	}
	return grouped(t.Value)
}

// intervalText writes a confidence interval of a time.
func intervalText(lower, upper stats.Time) string {
	switch {
	case !lower.Reached:
		return ""
	case !upper.Reached:
		return fmt.Sprintf(" (95%%: from %s)", grouped(lower.Value))
	}
	return fmt.Sprintf(" (95%%: %s–%s)", grouped(lower.Value), grouped(upper.Value))
}

func monthText(month string) string {
	at, _ := time.Parse("2006-01", month) // volume made it of a day
	return at.Format("January 2006")
}
