package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/config"
)

func TestLoad_HomeFolder(t *testing.T) {
	home := t.TempDir()
	s, err := load(t, "output = \"~/court\"\nnats_ca = \"~\"\ncontact = \"~/x\"\n",
		[]string{"HOME=" + home, "FCT_DATA_DIR=~/store", "NATS_CREDS=~/a.creds"},
		map[string]string{"nats_nkey": "~/a.nk", "nats_cert": "~other/c.pem", "nats_key": "./~/k.pem"})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		s.Output: filepath.Join(home, "court"), s.NATSCA: home, s.DataDir: filepath.Join(home, "store"), s.NATSCreds: filepath.Join(home, "a.creds"),
		s.NATSNkey: filepath.Join(home, "a.nk"), s.NATSCert: "~other/c.pem", s.NATSKey: "./~/k.pem", s.Contact: "~/x",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	_, err = load(t, "", nil, map[string]string{"output": "~/court"})
	if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], `--output: output = "~/court": want HOME set`) {
		t.Errorf("without a home folder: %q", got)
	}
	_, err = config.Load(config.Sources{File: "~/missing.toml", Environ: []string{"HOME=" + home}, Now: day})
	if got := problems(t, err); len(got) != 1 || !strings.Contains(got[0], filepath.Join(home, "missing.toml")) {
		t.Errorf("a file of the home folder: %q", got)
	}
}

func TestLoad_YearOfFourDigits(t *testing.T) {
	for name, give := range map[string]func() (*config.Settings, error){
		"flag":     func() (*config.Settings, error) { return load(t, "", nil, map[string]string{"year": "2024"}) },
		"variable": func() (*config.Settings, error) { return load(t, "", []string{"FCT_YEAR=2024"}, nil) },
		"file":     func() (*config.Settings, error) { return load(t, "year = \"2024\"\n", nil, nil) },
		"number":   func() (*config.Settings, error) { return load(t, "year = 2024\n", nil, nil) },
		"short":    func() (*config.Settings, error) { return load(t, "year = 24\n", nil, nil) },
		"argument": func() (*config.Settings, error) {
			return config.Load(config.Sources{Arguments: map[string]string{"year": "2024"}, Flags: map[string]string{"year": "24"}, Now: day})
		},
	} {
		s, err := give()
		if err != nil || s.Year != "24" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for _, wrong := range []string{"5", "1999", "2100", "25.5", "-25", "true"} {
		_, err := load(t, "year = "+wrong+"\n", nil, nil)
		want := "c.toml:1: year = " + wrong + ": want the year's last two digits"
		if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("year = %s: %q, want %q", wrong, got, want)
		}
	}
	for _, key := range []string{"prefix", "contact", "output", "nats_nkey", "quiet_hours", "log_level"} {
		_, err := load(t, key+" = 25\n", nil, nil)
		if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "c.toml:1: "+key+" = 25: want ") {
			t.Errorf("%s = 25: %q", key, got)
		}
	}
	_, err := config.Load(config.Sources{Arguments: map[string]string{"year": "2024"}, Flags: map[string]string{"year": "25", "start": "0"}, Now: day})
	if got := problems(t, err); len(got) != 2 || got[1] != `argument: year = "2024": want the same as year = "25" (--year), or one of the two alone` {
		t.Errorf("%q", got)
	}
}
