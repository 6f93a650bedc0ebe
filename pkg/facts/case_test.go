package facts_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
)

// day is a docket entry with its day.
type day struct{ on, text string }

const (
	opening      = "Application for leave and judicial review against a decision of the RPD filed"
	leaveGranted = "Order rendered by The Honourable Madam Justice Quillfeather at Ottawa on 03-MAR-2021 granting the application for leave fixing the hearing at a Special Sitting at Halifax on 01-JUN-2021 to begin at 09:30 specifying documents to be produced and/or filed as follows: Tribunal to send its record Decision filed on 04-MAR-2021"
	leaveRefused = "(Final decision) Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 02-MAR-2021 dismissing the application for leave Decision filed on 02-MAR-2021"
	dismissed    = "(Final decision) Judgment rendered by The Honourable Mr. Justice Inkwell at Ottawa on 05-JUL-2021 dismissing the application for judicial review Decision filed on 05-JUL-2021"
	onConsent    = "Judgment on Consent dated 05-JUL-2021 rendered by The Honourable Mr. Justice Inkwell Matter considered without personal appearance The Court's decision is with regard to Motion in writing Doc. No. 6 Result: granted Filed on 05-JUL-2021 Final Decision"
	discontinued = "Notice of discontinuance on behalf of Applicant filed on 06-JUL-2021"
)

func caseOf(t *testing.T, entries ...day) *facts.Case {
	t.Helper()
	r := recordOf()
	r.FiledOn, r.FetchedAt = "2021-01-01", time.Date(2022, 1, 1, 12, 0, 0, 0, time.UTC)
	r.NatureEN = "Imm - Appl. for leave & jud. review - IRB - Refugee"
	for i, e := range entries {
		r.Docket = append(r.Docket, contract.DocketEntry{EntryNumber: i + 1, EnteredOn: e.on, Text: e.text})
	}
	return load(t).NewReader().Of(r)
}

func text[T any](p *T) string {
	if p == nil {
		return "null"
	}
	return fmt.Sprint(*p)
}

func TestCase_Status(t *testing.T) {
	t.Parallel()
	open := day{"2021-01-01", opening}
	for _, test := range []struct {
		name    string
		entries []day
		want    string
	}{
		{"header only", nil, "awaiting_leave leave null by null on null, review null by null on null, closed null after null, age 365"},
		{"open", []day{open}, "awaiting_leave leave null by null on null, review null by null on null, closed null after null, age 365"},
		{"leave granted", []day{open, {"2021-03-04", leaveGranted}}, "active leave granted by Quillfeather on 2021-03-03, review null by null on null, closed null after null, age 365"},
		{"leave dismissed", []day{open, {"2021-03-02", leaveRefused}}, "leave_dismissed leave dismissed by Inkwell on 2021-03-02, review null by null on null, closed 2021-03-02 after 60, age null"},
		{"review dismissed", []day{open, {"2021-03-04", leaveGranted}, {"2021-07-05", dismissed}},
			"dismissed leave granted by Quillfeather on 2021-03-03, review dismissed by Inkwell on 2021-07-05, closed 2021-07-05 after 185, age null"},
		{"newest first", []day{{"2021-07-05", dismissed}, {"2021-03-04", leaveGranted}, open},
			"dismissed leave granted by Quillfeather on 2021-03-03, review dismissed by Inkwell on 2021-07-05, closed 2021-07-05 after 185, age null"},
		{"consent", []day{open, {"2021-07-05", onConsent}}, "granted_on_consent leave null by null on null, review granted by Inkwell on 2021-07-05, closed 2021-07-05 after 185, age null"},
		{"discontinued", []day{open, {"2021-07-06", discontinued}}, "discontinued leave null by null on null, review null by null on null, closed 2021-07-06 after 186, age null"},
		{"dismissed by a motion", []day{open, {"2021-07-05", "Order dated 05-JUL-2021 rendered by The Honourable Mr. Justice Inkwell Matter considered without personal appearance The Court's decision is with regard to Motion in writing Doc. No. 4 Result: granted - motion to dismiss granted, application dismissed. Filed on 05-JUL-2021 Final Decision"}}, "dismissed leave null by null on null, review dismissed by Inkwell on 2021-07-05, closed 2021-07-05 after 185, age null"},
		{"granted by a motion", []day{open, {"2021-07-05", "(Final decision) Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 05-JUL-2021 granting the motion to allow the judicial review on consent Decision filed on 05-JUL-2021"}}, "granted_on_consent leave null by null on null, review granted by Inkwell on 2021-07-05, closed 2021-07-05 after 185, age null"},
		{"closed otherwise", []day{open, {"2021-07-05", "(Final decision) Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 05-JUL-2021 removing the file from the list Decision filed on 05-JUL-2021"}}, "closed_other leave null by null on null, review null by null on null, closed 2021-07-05 after 185, age null"},
	} {
		c := caseOf(t, test.entries...)
		got := fmt.Sprintf("%s leave %s by %s on %s, review %s by %s on %s, closed %s after %s, age %s", c.Status,
			text(c.Leave), text(c.LeaveJudge),
			text(c.LeaveOn), text(c.Review), text(c.ReviewJudge), text(c.ReviewOn), text(c.ClosedOn),
			text(c.DaysToClose), text(c.AgeDays))
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if len(c.Conflict) > 0 {
			t.Errorf("%s: conflict %+v, want none", test.name, c.Conflict)
		}
	}
}

func TestCase_Conflicts(t *testing.T) {
	t.Parallel()
	c := caseOf(t, day{"2021-03-02", leaveRefused}, day{"2021-03-04", leaveGranted})
	if text(c.Leave) != "granted" || c.Status != facts.StatusActive {
		t.Errorf("leave %s, status %s: want the last decision", text(c.Leave), c.Status)
	}
	if len(c.Conflict) != 1 || c.Conflict[0].Fact != "leave" || len(c.Conflict[0].Values) != 2 ||
		*c.Conflict[0].Values[0].Entry != 1 {
		t.Errorf("conflict %+v, want both decisions about leave", c.Conflict)
	}
	c = caseOf(t, day{"2021-07-05", dismissed}, day{"2021-07-06", discontinued})
	if c.Status != facts.StatusDismissed || len(c.Conflict) != 1 ||
		c.Conflict[0].Values[1].Value != facts.StatusDiscontinued {
		t.Errorf("status %s, conflict %+v: want the discontinuance as a conflict", c.Status, c.Conflict)
	}
}

func TestCase_Steps(t *testing.T) {
	t.Parallel()
	c := caseOf(t,
		day{"2021-01-01", opening},
		day{"2021-01-04", "Request for written reasons under Rule 9 sent to the tribunal"},
		day{"2021-01-20", "Decision and written reasons under Rule 9 received"},
		day{"2021-02-01", "Applicant's Record, number of copies received: 2, on behalf of Applicant"},
		day{"2021-02-10", "Memorandum of argument on behalf of the Respondent"},
		day{"2021-02-12", "Reply memorandum on behalf of Applicant"},
		day{"2021-02-15", "Notice of Motion on behalf of Applicant for a stay of removal"},
		day{"2021-02-16", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 16-FEB-2021 granting the stay of execution Decision filed on 16-FEB-2021"},
		day{"2021-03-04", leaveGranted},
		day{"2021-03-20", "Certified Tribunal Record received from the tribunal"},
		day{"2021-04-20", "Further memorandum of argument on behalf of the Applicant"},
		day{"2021-05-01", "Further memorandum of argument on behalf of the Respondent"},
		day{"2021-06-01", "Halifax 01-JUN-2021 BEFORE The Honourable Mr. Justice Inkwell Language: E Before the Court: Judicial Review Result of Hearing: Matter reserved held in Court"},
		day{"2021-07-05", dismissed},
	)
	var names []string
	for _, m := range c.Milestones {
		names = append(names, m.Name)
		if m.Rule == "" || m.Entry == nil || m.Day == nil {
			t.Errorf("milestone %+v lacks its rule, entry or day", m)
		}
		if m.Name == "hearing_scheduled" && (text(m.ScheduledOn) != "2021-06-01" || text(m.ScheduledAt) != "09:30") {
			t.Errorf("hearing scheduled on %s at %s", text(m.ScheduledOn), text(m.ScheduledAt))
		}
	}
	want := []string{
		"application_perfected", "respondent_memorandum", "reply", "stay_motion", "tribunal_record_ordered",
		"hearing_scheduled", "leave_decision",
		"tribunal_record_filed", "applicant_further_memorandum", "respondent_further_memorandum", "hearing_held",
		"review_decision",
	}
	if !slices.Equal(names, want) {
		t.Errorf("milestones\n got %s\nwant %s", strings.Join(names, " "), strings.Join(want, " "))
	}
	if c.StayMotions != 1 || text(c.StayOutcome) != "granted" || text(c.Rule9Days) != "16" ||
		text(c.LastEntryOn) != "2021-07-05" || c.Entries != 14 {
		t.Errorf("stays %d %s, rule 9 after %s days, last entry %s of %d", c.StayMotions, text(c.StayOutcome),
			text(c.Rule9Days), text(c.LastEntryOn), c.Entries)
	}
}

func TestCase_Types(t *testing.T) {
	t.Parallel()
	reader := load(t).NewReader()
	for nature, want := range map[string]string{
		"Imm - Appl. for leave & jud. review - IRB - Refugee":                         "refugee_protection",
		"Imm - Dem. d'autorisation & contrôle jud. - CISR - Réfugié":                  "refugee_protection",
		"Imm - Appl. for leave & jud. review - IRB - Refugee Appeal Division":         "refugee_appeal",
		"Imm - Appl. for leave & jud. review - Arising outside Canada":                "outside_canada",
		"Imm - Appl. for leave & jud. review - Arising in Canada":                     "in_canada",
		"Imm - Appl. for leave & jud. review - Pre-removal risk assessment":           "pre_removal_risk",
		"IMM - DEM. D'AUTORISATION & CONTROLE JUD. - EXAMEN DES RISQUES AVANT RENVOI": "pre_removal_risk",
		"Imm - Mandamus - Arising outside Canada":                                     "mandamus",
		"S. 18.1 Application for Judicial Review":                                     "judicial_review",
		"Trade Mark Infringement [Actions]":                                           "action",
	} {
		r := recordOf()
		r.NatureEN = nature
		if c := reader.Of(r); text(c.CaseType) != want {
			t.Errorf("%s: %s, want %s", nature, text(c.CaseType), want)
		}
	}
	c := reader.Of(recordOf("Application for leave and judicial review against a decision of the visa section at the High Commission of Canada in New Delhi dated 3-MAR-2021"))
	if text(c.VisaOffice) != "New Delhi" || text(c.CaseType) != "outside_canada" ||
		*c.Sources["visa_office"].Entry != 1 {
		t.Errorf("visa office %s, type %s, source %+v", text(c.VisaOffice), text(c.CaseType), c.Sources["visa_office"])
	}
}

// TestCase_RulesDisagree has an entry for which two rules give different values.
func TestCase_RulesDisagree(t *testing.T) {
	t.Parallel()
	c := caseOf(t, day{"2021-07-05", "(Final decision) Judgment rendered by The Honourable Mr. Justice Inkwell at Ottawa on 05-JUL-2021 granting the application for judicial review; the application for judicial review is dismissed without costs Decision filed on 05-JUL-2021"})
	if len(c.Conflict) != 1 || c.Conflict[0].Fact != "review" {
		t.Fatalf("conflict %+v, want one about the review", c.Conflict)
	}
	first, second := c.Conflict[0].Values[0], c.Conflict[0].Values[1]
	if first.Value == second.Value || first.Rule == second.Rule || *first.Position != 1 || *second.Position != 1 {
		t.Errorf("conflict %+v, want two values of two rules", c.Conflict[0])
	}
	if text(c.Review) != first.Value {
		t.Errorf("review %s, want that of the first rule", text(c.Review))
	}
}

// TestCase_EveryFactHasSource checks that a fact that is known names its rule, and that an unknown
// one is null in JSON.
func TestCase_EveryFactHasSource(t *testing.T) {
	t.Parallel()
	c := caseOf(t, day{"2021-01-01", opening}, day{"2021-03-04", leaveGranted}, day{"2021-07-05", dismissed})
	for _, fact := range []string{"case_type", "status", "leave", "leave_on", "leave_judge", "review", "review_on",
		"review_judge", "closed_on"} {
		if c.Sources[fact].Rule == "" {
			t.Errorf("%s names no rule: %+v", fact, c.Sources)
		}
	}
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"stay_outcome":null`, `"visa_office":null`, `"final":false`, `"conflict":[]`,
		`"age_days":null`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("%s lacks %s", line, want)
		}
	}
}

// An order that names a motion only by its number decides what the entry of that motion asks for.
func TestCase_MotionByNumber(t *testing.T) {
	t.Parallel()
	const (
		stayMotion   = "Notice of Motion on behalf of Applicant returnable at Halifax for a stay of the removal order filed on 01-MAR-2021"
		reviewMotion = "Motion in writing on behalf of Respondent for an order on consent granting the application for judicial review filed on 01-MAR-2021"
		otherMotion  = "Notice of Motion on behalf of Applicant for an extension of time filed on 01-MAR-2021"
		decided      = "Order dated 05-MAR-2021 rendered by The Honourable Mr. Justice Inkwell Matter considered with personal appearance The Court's decision is with regard to Motion Doc. No. 9 Result: %s Filed on 05-MAR-2021"
	)
	granted, refused := fmt.Sprintf(decided, "granted"), fmt.Sprintf(decided, "dismissed")
	for _, test := range []struct {
		name, motion string
		document     int
		order        string
		want         string
	}{
		{"stay dismissed", stayMotion, 9, refused, "stay dismissed, review null, awaiting_leave"},
		{"another motion", stayMotion, 8, refused, "stay null, review null, awaiting_leave"},
		{"without a number", stayMotion, 0, refused, "stay null, review null, awaiting_leave"},
		{"no stay", otherMotion, 9, refused, "stay null, review null, awaiting_leave"},
		{"review granted", reviewMotion, 9, granted + " Final Decision",
			"stay null, review granted, granted_on_consent"},
		{"motion for review dismissed", reviewMotion, 9, refused + " Final Decision",
			"stay null, review null, closed_other"},
		{"order that is not final", reviewMotion, 9, granted, "stay null, review null, awaiting_leave"},
		{"motion without an order", reviewMotion, 9, "Letter from Applicant", "stay null, review null, awaiting_leave"},
	} {
		r := recordOf(opening, test.motion, test.order)
		for i := range r.Docket {
			r.Docket[i].EnteredOn = fmt.Sprintf("2021-03-%02d", i+1)
		}
		r.Docket[1].DocumentNumber = test.document
		c := load(t).NewReader().Of(r)
		if got := fmt.Sprintf("stay %s, review %s, %s", text(c.StayOutcome), text(c.Review),
			c.Status); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		for _, m := range c.Milestones {
			if m.Name == "review_decision" && *m.Position != 3 {
				t.Errorf("%s: the review is decided by entry %d", test.name, *m.Position)
			}
		}
	}
}

// A text of many megabytes takes no longer than its first part.
func TestReader_LongText(t *testing.T) {
	t.Parallel()
	begin := "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 05-JUL-2021 dismissing the motion "
	e := load(t).NewReader().Of(recordOf(begin + strings.Repeat("decision decided without a decision ",
		1<<20))).EntryFacts[0]
	if text(e.Outcome) != "dismissed" || text(e.Judge) != "Inkwell" {
		t.Errorf("outcome %s, judge %s", text(e.Outcome), text(e.Judge))
	}
	e = load(t).NewReader().Of(recordOf(strings.Repeat("decision ", 1<<15) + begin)).EntryFacts[0]
	if e.Kind != facts.KindOther || len(e.About) > 0 {
		t.Errorf("kind %s, about %v: read beyond the limit", e.Kind, e.About)
	}
}
