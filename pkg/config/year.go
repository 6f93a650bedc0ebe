package config

import (
	"fmt"
	"strings"

	"fct-scraper/pkg/contract"
)

// ParseYear reads a year as people type it, "25" or "2025", and gives its last two digits. Four digits are 2000 to 2099.
func ParseYear(text string) (string, error) {
	short := text
	if len(text) == 4 {
		short = strings.TrimPrefix(text, "20")
	}
	if err := contract.CheckYear(short); err != nil {
		return "", fmt.Errorf("year %.40q: allowed are two digits, or 2000 to 2099", text)
	}
	return short, nil
}
