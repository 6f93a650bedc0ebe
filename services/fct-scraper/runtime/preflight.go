package runtime

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/site"
)

// A batch was measured to keep 26 files open (the streams of the embedded server, output, terminal)
// and one connection a case in flight. On a busy machine a case has up to three more at once: a
// connection that a canceled request is closing, a redirect to another origin, and the file that is
// being written. With two a case, one run of four at concurrency 64 ended with "too many open
// files".
const (
	openFilesBase    = 40
	openFilesPerCase = 4
)

// checkOpenFiles refuses settings that need more open files than the limit: without the check the
// broker, the output or the site would fail, each with a different error. limit is the limit of the
// process, 0 if it has none.
func checkOpenFiles(c config.Config, limit uint64) error {
	need := uint64(openFilesBase + openFilesPerCase*c.Concurrency)
	if limit == 0 || limit >= need {
		return nil
	}
	return Usagef("open files: the limit is %d, and concurrency %d needs %d: "+
		"raise it (ulimit -n %d) or lower concurrency", limit, c.Concurrency, need, max(need, 1024))
}

// checkOutputOrigin refuses an output folder with records of another site than origin: the files of
// both sites would have the same names.
func checkOutputOrigin(output, origin string) error {
	held := recordedOrigin(filepath.Join(output, "cases"))
	if held == "" || site.NameOf(held) == site.NameOf(origin) {
		return nil
	}
	return Usagef("output %q holds records of %.100q, and base_url is %q: "+
		"give another output, and another data_dir, for another site", output, held, origin)
}

// recordedOrigin returns the origin in the field source of a record in the folder, or "" if no
// record has one. It reads a few records of each year. It ignores what it cannot read: writing
// there will fail with a clear error.
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

// sampleEntries returns the paths of at most 100 entries of a folder: a year can have 99,999.
func sampleEntries(dir string) []string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = folder.Close() }()
	names, _ := folder.Readdirnames(100) // the names before an error suffice
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// sourceOrigin returns the origin of the field source of a record, or "" if the file is not such a
// record.
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
