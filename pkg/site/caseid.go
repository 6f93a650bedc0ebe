package site

import (
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
)

// normalizeCaseID reads a case number as a site may write it: with spaces around it, small letters, leading zeros.
func normalizeCaseID(written string) (contract.CaseID, bool) {
	if id, err := contract.ParseCaseID(written); err == nil {
		return id, true
	}
	parts := strings.Split(strings.Map(upperASCII, written), "-")
	if len(parts) != 3 {
		return contract.CaseID{}, false
	}
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
	}
	parts[1] = strings.TrimLeft(parts[1], "0")
	id, err := contract.ParseCaseID(strings.Join(parts, "-"))
	return id, err == nil
}

// upperASCII is the capital of an ASCII letter. Others are left alone: some of them would become ASCII letters.
func upperASCII(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}

// isPrefixMatch says whether a site that searches by the beginning of a number gives found when asked is asked for: IMM-130-25
// for IMM-13-25.
func isPrefixMatch(found, asked contract.CaseID) bool {
	return found.Series == asked.Series && found.Year == asked.Year &&
		strings.HasPrefix(strconv.Itoa(found.Number), strconv.Itoa(asked.Number))
}
