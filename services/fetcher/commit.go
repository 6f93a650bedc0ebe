package fetcher

import (
	"context"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
)

// packLimit is how many bytes of answers share one message at most, a single larger answer apart.
const packLimit = 4 << 20

// ready is an answer on its way into the stream of answers.
type ready struct {
	run    contract.RunID
	answer contract.Answer
}

// size is about what the answer takes in a message.
func (r ready) size() int {
	bytes := 512
	for _, exchange := range r.answer.Exchanges {
		bytes += 512 + len(exchange.Body)
	}
	return bytes
}

// commit stores answers that were ready together, packed by run and block.
func (s *Service) commit(ctx context.Context, items []ready) error {
	type place struct {
		run   contract.RunID
		block int
	}
	packs := make(map[place]*contract.AnswerPack)
	var order []place // first come, first stored
	for _, item := range items {
		at := place{item.run, contract.Chunk(item.answer.CaseID.Number)}
		if packs[at] == nil {
			packs[at] = &contract.AnswerPack{Version: contract.MessageVersion, RunID: item.run}
			order = append(order, at)
		}
		packs[at].Answers = append(packs[at].Answers, item.answer)
	}
	msgs := make([]*nats.Msg, 0, len(order))
	for _, at := range order {
		body, err := packs[at].Encode()
		if err != nil {
			return fmt.Errorf("storing answers of run %s: %w", at.run, err)
		}
		msg := nats.NewMsg(at.run.AnswerSubject(at.block))
		msg.Header.Set(contract.StateHeader, contract.FormatStates(packs[at].States()))
		msg.Data = bus.Compress(body)
		msgs = append(msgs, msg)
	}
	return s.Bus.PublishBatch(ctx, msgs)
}
