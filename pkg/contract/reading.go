package contract

// Classification is what a site profile reads in the exchanges of one attempt.
type Classification struct {
	Verdict Verdict
	// Record is set when the verdict is success.
	Record *Record
	// Rule names the rule of the profile that decided.
	Rule string
	// Error says what is wrong with a transient or blocked answer.
	Error string
	Notes []string
	// Raw is the index of the exchange that decided; its body is what is kept as the raw answer.
	Raw int
	// RawType is "json" or "html".
	RawType string
}
