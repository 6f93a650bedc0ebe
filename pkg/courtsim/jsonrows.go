package courtsim

import (
	"bytes"
	"encoding/json"
)

// jsonRows are an answer of the JSON calls taken apart, to be spoiled. Only faults pay for that.
type jsonRows struct {
	Count any              `json:"Count"`
	Data  []map[string]any `json:"data"`
	call  call
}

func parseRows(body []byte, made call) (*jsonRows, error) {
	rows := &jsonRows{call: made}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(rows); err != nil {
		return nil, err
	}
	return rows, nil
}

// updateCount makes the count right again.
func (a *jsonRows) updateCount() { a.Count = len(a.Data) }

// changeFields changes every field by its name and value.
func (a *jsonRows) changeFields(change func(row int, name string, value any) any) {
	for i, row := range a.Data {
		for name, value := range row {
			row[name] = change(i, name, value)
		}
	}
}

// changeRows applies a kind of fault to an answer.
func (c *Simulator) changeRows(kind *faultKind, q request, right reply) reply {
	rows, err := parseRows(right.body, q.call)
	if err != nil {
		return right
	}
	kind.changeRows(c, q.id, rows)
	if right.body, err = json.Marshal(rows); err != nil {
		return reply{500, asHTML, []byte(err.Error())}
	}
	return right
}
