package config

// ProbeTypicalGoal is how many requests the search of a typical year may take. It limits no search;
// a test compares the search with it.
const ProbeTypicalGoal = 50
