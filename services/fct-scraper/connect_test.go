package main

import (
	"testing"
)

func TestOneServiceHasItsOwnNameAndInboxAndTheGeneratorMakesTheStreams(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		services    []string
		name, inbox string
		makes       bool
	}{
		{nil, "fct-scraper", "", true},
		{allServices(), "fct-scraper", "", true},
		{[]string{"generator"}, "fct-generator", "_INBOX_generator", true},
		{[]string{"fetcher"}, "fct-fetcher", "_INBOX_fetcher", false},
		{[]string{"classifier", "fetcher"}, "fct-scraper", "", false},
	} {
		a := connectOptions{services: test.services}
		if a.clientName() != test.name || a.inboxPrefix() != test.inbox || a.createsStreams() != test.makes {
			t.Errorf("%v: name %q, inbox %q, makes %v; want %q, %q, %v", test.services, a.clientName(), a.inboxPrefix(), a.createsStreams(), test.name, test.inbox, test.makes)
		}
	}
}
