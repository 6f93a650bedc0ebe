package classifier

import "fct-scraper/pkg/contract"

// DigestOf is the digest that the first exchange gets.
func DigestOf(exchanges []contract.Exchange) string { return digested(exchanges)[0].Digest }
