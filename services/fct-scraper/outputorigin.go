package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"fct-scraper/pkg/site"
)

// checkOutputOrigin refuses an output folder that holds records of another court than the one at origin: files of both would lie side
// by side under the same names.
func checkOutputOrigin(output, origin string) error {
	held := recordedOrigin(filepath.Join(output, "cases"))
	if held == "" || site.NameOf(held) == site.NameOf(origin) {
		return nil
	}
	return fmt.Errorf("%w: output %q holds records of %.100q, and base_url is %q: give another output, and another data_dir, for another court",
		errUsage, output, held, origin)
}

// recordedOrigin is the origin that the source of a record in the folder names; empty when no record names one. A few records of each
// year are read. What cannot be read is left to whoever writes there.
func recordedOrigin(cases string) string {
	for _, series := range sampleEntries(cases) {
		for _, year := range sampleEntries(series) {
			for _, name := range sampleEntries(year) {
				if origin := sourceOrigin(name); origin != "" {
					return origin
				}
			}
		}
	}
	return ""
}

// sampleEntries are paths of entries of a folder, at most 100: a year can have 99,999.
func sampleEntries(dir string) []string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = folder.Close() }()
	names, _ := folder.Readdirnames(100) // those before an error do
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// sourceOrigin is the origin of a record's source; empty when the file is no record that names one.
func sourceOrigin(name string) string {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || !strings.HasSuffix(name, ".json") {
		return ""
	}
	var record struct{ Source string }
	data, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(data, &record) != nil {
		return ""
	}
	u, err := url.Parse(record.Source)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
