package site

import (
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// extraction fills a record from rows.
type extraction struct {
	zone *time.Location
	// bad are the fields whose value was of no use, each with the first such value.
	bad []badValue
}

// badValue is a value that was left out of the record.
type badValue struct{ field, value string }

func (x *extraction) leaveOut(m mapping, value string) {
	for _, known := range x.bad {
		if known.field == m.from.Text {
			return
		}
	}
	x.bad = append(x.bad, badValue{m.from.Text, value})
}

// plain is a row's field as text; days are written as days.
func (x *extraction) plain(m mapping, row *jsontree.Node) string {
	node, err := m.from.First(row)
	if err != nil {
		x.leaveOut(m, err.Error())
		return ""
	}
	value, err := text(node)
	if err != nil {
		x.leaveOut(m, err.Error())
		return ""
	}
	if value == "" || !isDay(m.field) {
		return value
	}
	written, err := day(value, x.zone)
	if err != nil {
		x.leaveOut(m, value)
	}
	return written
}

// header fills what is still empty: each row of a case repeats its header, and some rows know more.
func (x *extraction) header(h *contract.Header, fields []mapping, row *jsontree.Node) {
	for _, m := range fields {
		if to := headerText(h, m.field); to != nil {
			if *to == "" {
				*to = x.plain(m, row)
			}
		} else if to := headerList(h, m.field); to != nil && len(*to) == 0 {
			*to = x.list(m, row)
		}
	}
}

// list keeps the texts of a list and leaves its nulls out.
func (x *extraction) list(m mapping, row *jsontree.Node) []string {
	if m.from.Holder != nil {
		holder, err := m.from.Holder.First(row)
		if err == nil && holder != nil && holder.Kind != jsontree.Null && holder.Kind != jsontree.Array {
			x.leaveOut(m, "not a list")
			return nil
		}
	}
	nodes, err := m.from.All(row)
	if err != nil {
		x.leaveOut(m, err.Error())
	}
	var texts []string
	for _, node := range nodes {
		value, err := text(node)
		if err != nil {
			x.leaveOut(m, err.Error())
		} else if value != "" {
			texts = append(texts, value)
		}
	}
	return texts
}

func (x *extraction) entry(fields []mapping, row *jsontree.Node) contract.DocketEntry {
	var e contract.DocketEntry
	for _, m := range fields {
		value := x.plain(m, row)
		if value == "" {
			continue
		}
		if to := entryText(&e, m.field); to != nil {
			*to = value
		} else if to := entryYesNo(&e, m.field); to != nil {
			*to = x.yes(m, value)
		} else if to := entryNumber(&e, m.field); to != nil {
			*to = x.whole(m, value)
		}
	}
	return e
}

// whole reads a number of an entry: 0 and more.
func (x *extraction) whole(m mapping, value string) int {
	number, err := strconv.Atoi(value)
	if err != nil || number < 0 {
		x.leaveOut(m, value)
		return 0
	}
	return number
}

func (x *extraction) yes(m mapping, value string) bool {
	switch strings.ToUpper(value) {
	case "Y", "TRUE":
		return true
	case "N", "FALSE":
		return false
	default:
		x.leaveOut(m, value)
		return false
	}
}

func (x *extraction) party(fields []mapping, row *jsontree.Node) contract.Party {
	var p contract.Party
	for _, m := range fields {
		*partyText(&p, m.field) = x.plain(m, row)
	}
	return p
}
