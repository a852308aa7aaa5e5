package timeline

import (
	"context"
	"errors"
	"iter"

	"hooksmith/serve/event"
)

type (
	machine struct{}
	file    struct{}
	pending struct{}
)

func open(opt Options) (*Timeline, error)                                        { return nil, errors.ErrUnsupported }
func (t *Timeline) run(ctx context.Context)                                      {}
func (t *Timeline) closeFile() error                                             { return nil }
func (t *Timeline) event(e event.Event)                                          {}
func (t *Timeline) logLine(l Line)                                               {}
func (t *Timeline) snapshot(since uint64) []Machine                              { return nil }
func (t *Timeline) detail(mac string) (Detail, bool)                             { return Detail{}, false }
func (t *Timeline) status() Status                                               { return Status{} }
func (t *Timeline) logs(mac string, q Query) []Line                              { return nil }
func (t *Timeline) follow(context.Context, string, Query) iter.Seq[Line]         { return nil }
func (t *Timeline) subscribe(ctx context.Context, since uint64) iter.Seq[Update] { return nil }
