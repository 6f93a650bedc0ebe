package facts

// The facts that a rule can give.
const (
	factKind       = "kind"
	factFinal      = "final"
	factJudge      = "judge"
	factOfficer    = "officer"
	factAbout      = "about"
	factOutcome    = "outcome"
	factMotion     = "motion"
	factDecidedOn  = "decided_on"
	factLeave      = "leave"
	factReview     = "review"
	factMilestone  = "milestone"
	factCaseType   = "case_type"
	factNeedsLeave = "needs_leave"
	factVisaOffice = "visa_office"
)

// Kinds of docket entries: the values of Entry.Kind.
const (
	KindApplication    = "application_for_leave"
	KindAppearance     = "notice_of_appearance"
	KindMotion         = "motion"
	KindOrder          = "order"
	KindJudgment       = "judgment"
	KindHearing        = "hearing"
	KindRule9Request   = "rule9_request"
	KindRule9Record    = "rule9_record"
	KindDiscontinuance = "discontinuance"
	KindRecord         = "record"
	KindAffidavit      = "affidavit"
	KindLetter         = "letter"
	KindMemorandum     = "memorandum"
	KindOther          = "other"
)

// Outcomes of orders, judgments and hearings; OutcomeOther is a procedural or an unclear one.
const (
	OutcomeGranted   = "granted"
	OutcomeDismissed = "dismissed"
	OutcomeOther     = "other"
)

// Some of the values of Entry.About.
const (
	AboutLeave         = "leave"
	AboutReview        = "judicial_review"
	AboutMotion        = "motion"
	AboutStayOfRemoval = "stay_of_removal"
	AboutConsent       = "consent"
)

// Values of Case.Status.
const (
	StatusAwaitingLeave  = "awaiting_leave"
	StatusLeaveDismissed = "leave_dismissed"
	StatusActive         = "active"
	StatusGranted        = "granted"
	StatusOnConsent      = "granted_on_consent"
	StatusDismissed      = "dismissed"
	StatusDiscontinued   = "discontinued"
	StatusClosedOther    = "closed_other"
)

// factSpec says what a rule for a fact may give.
type factSpec struct {
	name string
	// values are the allowed values; nil if the value is read from the text.
	values []string
	// group is the group of an expression that holds a value read from the text.
	group string
	// extra are further groups that an expression may have.
	extra []string
	// many reports that an entry can have several values.
	many bool
	// compared reports that a second rule with another value is a conflict.
	compared bool
	// ofCase reports that the rules read the header and the opening entry of a case.
	ofCase bool
}

// factSpecs are the facts in the order of their evaluation: rules may refer to facts before theirs.
func factSpecs() []factSpec {
	decided := []string{OutcomeGranted, OutcomeDismissed}
	return []factSpec{
		{name: factKind, values: []string{
			KindApplication, KindAppearance, KindMotion, KindOrder, KindJudgment, KindHearing, KindRule9Request,
			KindRule9Record, KindDiscontinuance, KindRecord, KindAffidavit, KindLetter, KindMemorandum, KindOther,
		}},
		{name: factFinal, values: []string{"true"}},
		{name: factJudge, group: "name"},
		{name: factOfficer, group: "name"},
		{name: factAbout, many: true, values: []string{
			AboutLeave, AboutReview, AboutMotion, AboutStayOfRemoval, AboutConsent, "stay_of_release",
			"extension_of_time",
			"reconsideration", "set_aside", "confidentiality", "consolidation", "adjournment", "abeyance", "scheduling",
			"tribunal_record", "certified_question", "case_management", "mandamus", "costs",
		}},
		{name: factMotion, group: "number"},
		{name: factOutcome, values: []string{OutcomeGranted, OutcomeDismissed, OutcomeOther}},
		{name: factDecidedOn, group: "day"},
		{name: factLeave, values: decided},
		{name: factReview, values: decided, compared: true},
		{name: factMilestone, many: true, extra: []string{"scheduled_on", "scheduled_at"}, values: []string{
			"application_perfected", "respondent_memorandum", "reply", "stay_motion", "tribunal_record_ordered",
			"tribunal_record_filed", "applicant_further_memorandum", "respondent_further_memorandum",
			"hearing_scheduled",
			"hearing_held", "leave_decision", "review_decision", "discontinued",
		}},
		{name: factCaseType, ofCase: true, values: []string{
			"mandamus", "refugee_protection", "refugee_appeal", "pre_removal_risk", "humanitarian",
			"immigration_appeal",
			"inadmissibility", "removal", "detention", "citizenship", "outside_canada", "in_canada",
			"judicial_review", "action",
			"appeal", "other",
		}},
		{name: factNeedsLeave, ofCase: true, values: []string{"true"}},
		{name: factVisaOffice, ofCase: true, group: "name"},
	}
}
