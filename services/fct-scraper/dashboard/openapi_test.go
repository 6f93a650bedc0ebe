package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

// schema is the part of JSON Schema that assets/openapi.json uses.
type schema struct {
	Ref                  string `json:"$ref"`
	AllOf                []schema
	Type                 any
	Enum                 []string
	Required             []string
	Properties           map[string]schema
	Items                *schema
	AdditionalProperties *schema
}

// operation is an operation of assets/openapi.json.
type operation struct {
	Responses map[string]struct {
		Content map[string]struct{ Schema schema }
	}
}

// document is assets/openapi.json.
type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

// flat returns a schema with its references resolved and its parts joined.
func (d document) flat(s schema) schema {
	if name, is := strings.CutPrefix(s.Ref, "#/components/schemas/"); is {
		return d.flat(d.Components.Schemas[name])
	}
	for _, part := range s.AllOf {
		part = d.flat(part)
		s.Type, s.Required = part.Type, append(s.Required, part.Required...)
		if s.Properties == nil {
			s.Properties = map[string]schema{}
		}
		maps.Copy(s.Properties, part.Properties)
	}
	s.AllOf = nil
	return s
}

// differences returns where a value is not what a schema describes: also fields that it does not name.
func (d document) differences(s schema, value any, at string) (all []string) {
	s = d.flat(s)
	kind, array := "null", []any(nil)
	switch v := value.(type) {
	case map[string]any:
		kind = "object"
		for _, name := range s.Required {
			if _, has := v[name]; !has {
				all = append(all, at+" lacks "+name)
			}
		}
		for name, field := range v {
			property, has := s.Properties[name]
			switch {
			case has:
				all = append(all, d.differences(property, field, at+"."+name)...)
			case s.AdditionalProperties != nil:
				all = append(all, d.differences(*s.AdditionalProperties, field, at+"."+name)...)
			case s.Properties != nil:
				all = append(all, at+" has the unknown "+name)
			}
		}
	case []any:
		kind, array = "array", v
	case string:
		kind = "string"
		if s.Enum != nil && !slices.Contains(s.Enum, v) {
			all = append(all, at+" is "+v)
		}
	case float64:
		kind = "number"
		if v == float64(int(v)) && fmt.Sprint(s.Type) == "integer" {
			kind = "integer"
		}
	case bool:
		kind = "boolean"
	}
	for i, element := range array {
		if s.Items != nil {
			all = append(all, d.differences(*s.Items, element, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	if s.Type != nil && !strings.Contains(fmt.Sprint(s.Type), kind) {
		all = append(all, fmt.Sprintf("%s is a %s", at, kind))
	}
	return all
}

// TestOpenAPI_AgreesWithResponses: every status and every field of real responses is described.
func TestOpenAPI_AgreesWithResponses(t *testing.T) {
	t.Parallel()
	data, err := assets.ReadFile("assets/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var described document
	if err := json.Unmarshal(data, &described); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 5000, Faults: []courtsim.Fault{{Kind: "500", Share: 0.2, Times: -1}}},
		map[string]string{"delay_min": "20ms", "delay_max": "20ms", "max_retries": "0"})
	check := func(method, pattern, path, body string, header map[string]string, want int) {
		t.Helper()
		status, _, text := f.request(method, path, body, header)
		var value any
		if err := json.Unmarshal(text, &value); err != nil || status != want {
			t.Fatalf("%s %s: %d %.200s, want %d", method, path, status, text, want)
		}
		response, has := described.Paths[pattern][strings.ToLower(method)].Responses[fmt.Sprint(status)]
		if !has {
			t.Errorf("%s %s: %d is not described", method, pattern, status)
		}
		for _, difference := range described.differences(response.Content["application/json"].Schema, value, fmt.Sprint(method, " ", pattern, " ", status)) {
			t.Error(difference)
		}
	}
	run := string(f.start(batch(1, 5000, "")))
	base := "/api/runs/" + run
	look := func() {
		t.Helper()
		check("GET", "/api/runs", "/api/runs", "", nil, 200)
		check("GET", "/api/runs/{id}", base, "", nil, 200)
		check("GET", "/api/runs/{id}/map", base+"/map", "", nil, 200)
		check("GET", "/api/cases/{id}", "/api/cases/IMM-7-25", "", nil, 200)
	}
	look()
	f.await(contract.RunID(run), func(r Run) bool { return r.Failed > 0 && r.NoRecord+r.Succeeded > 0 })
	asJSON := map[string]string{"Content-Type": "application/json"}
	if _, err := f.nats.Request(contract.SubjectTune, fmt.Appendf(nil, `{"run_id":%q,"concurrency":2}`, run), requestTimeout); err != nil {
		t.Fatal(err)
	}
	check("POST", "/api/runs/{id}/pause", base+"/pause", "{}", asJSON, 202)
	look()
	check("POST", "/api/runs/{id}/resume", base+"/resume", "", asJSON, 202)
	check("POST", "/api/runs/{id}/stop", base+"/stop", "", asJSON, 202)
	f.await(contract.RunID(run), ended)
	look()
	check("GET", "/api/cases/{id}", "/api/cases/IMM-0-25", "", nil, 400)
	for _, command := range []string{"stop", "pause", "resume"} {
		pattern, path := "/api/runs/{id}/"+command, base+"/"+command
		check("POST", pattern, path, "[]", asJSON, 400)
		check("POST", pattern, path, "{}", map[string]string{"Content-Type": "application/json", "Origin": "http://evil.example"}, 403)
		check("POST", pattern, "/api/runs/nowhere/"+command, "{}", asJSON, 404)
		check("POST", pattern, path, "{}", asJSON, 409)
		check("POST", pattern, path, strings.Repeat(" ", maxBodyBytes+1), asJSON, 413)
		check("POST", pattern, path, "{}", nil, 415)
	}
	for pattern, path := range map[string]string{"/api/runs/{id}": "", "/api/runs/{id}/map": "/map", "/api/runs/{id}/events": "/events"} {
		check("GET", pattern, "/api/runs/nowhere"+path, "", nil, 404)
		check("GET", pattern, base+path, "", map[string]string{"Host": "rebind.example"}, 421)
	}
	for pattern, operations := range described.Paths { // what no request above gets
		for method, operation := range operations {
			for _, status := range []int{http.StatusUnauthorized, http.StatusInternalServerError, http.StatusGatewayTimeout} {
				limited := status == http.StatusUnauthorized || !strings.HasSuffix(pattern, "/openapi.json") &&
					(status == http.StatusInternalServerError || !strings.HasSuffix(pattern, "/events"))
				if _, has := operation.Responses[fmt.Sprint(status)]; has != limited {
					t.Errorf("%s %s: %d is described: %v", method, pattern, status, has)
				}
			}
		}
	}
}
