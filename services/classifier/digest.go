package classifier

import (
	"crypto/sha256"
	"encoding/hex"

	"fct-scraper/pkg/contract"
)

// addDigests gives every exchange that has a body the digest of it: the ledger keeps no bodies, and the digest says later
// whether two answers were the same, and whether a raw answer that was kept is the one.
func addDigests(exchanges []contract.Exchange) []contract.Exchange {
	for i := range exchanges {
		if len(exchanges[i].Body) > 0 {
			exchanges[i].Digest = digest(exchanges[i].Body)
		}
	}
	return exchanges
}

func digest(body []byte) string {
	const name = "sha256:"
	sum := sha256.Sum256(body)
	return string(hex.AppendEncode([]byte(name), sum[:]))
}
