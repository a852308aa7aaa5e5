package serve

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/tftp"
)

// fanOut gives every event to all sinks, in order.
func fanOut(sinks ...event.Sink) event.Sink {
	return func(e event.Event) {
		for _, sink := range sinks {
			sink(e)
		}
	}
}

// levels says which events of TFTP people want to read as they come.
var levels = map[event.Kind]slog.Level{event.TFTPDone: slog.LevelInfo, event.TFTPAbort: slog.LevelWarn}

// refusals bounds what anyone can have written by asking for nonsense.
type refusals struct {
	mu            sync.Mutex
	second        int64
	count, unsaid int
}

// maxRefusals is how many are written in a second.
const maxRefusals = 20

// allow reports whether one more is written, and how many were not before it.
func (r *refusals) allow(now time.Time) (ok bool, unsaid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := now.Unix(); second != r.second {
		r.second, r.count = second, 0
	}
	if r.count == maxRefusals {
		r.unsaid++
		return false, 0
	}
	r.count++
	unsaid, r.unsaid = r.unsaid, 0
	return true, unsaid
}

// logged writes events to the log, with the MAC address first.
func logged(log *slog.Logger) event.Sink {
	limit := &refusals{}
	return func(e event.Event) {
		level, ok := levels[e.Kind]
		if !ok {
			level = slog.LevelDebug
		}
		if !log.Enabled(context.Background(), level) {
			return
		}
		if e.Kind == event.TFTPAbort && e.Bytes == 0 {
			written, unsaid := limit.allow(e.Time)
			if !written {
				return
			}
			if unsaid > 0 {
				log.Warn("refusals were not written, as there were too many", "count", unsaid)
			}
		}
		var attrs []slog.Attr
		add := func(key, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(key, value))
			}
		}
		add("mac", e.MAC)
		add("ip", e.IP)
		add("file", e.File)
		if e.Bytes > 0 {
			attrs = append(attrs, slog.Int64("bytes", e.Bytes), slog.Duration("took", e.Duration.Round(time.Millisecond)))
		}
		if e.Retransmits > 0 {
			attrs = append(attrs, slog.Int("retransmits", e.Retransmits))
		}
		add("detail", e.Detail)
		log.LogAttrs(context.Background(), level, string(e.Kind), attrs...)
	}
}

// tftpKinds translates; Refused becomes an abort of nothing.
var tftpKinds = map[tftp.Kind]event.Kind{
	tftp.Refused: event.TFTPAbort, tftp.Started: event.TFTPStart, tftp.Progress: event.TFTPProgress,
	tftp.Probe: event.TFTPProbe, tftp.Finished: event.TFTPDone, tftp.Aborted: event.TFTPAbort,
}

// fromTFTP makes the event of a transfer, with the machine that it belongs to.
func (b *boots) fromTFTP(e tftp.Event, now time.Time) event.Event {
	mac, found := macInPath(e.File)
	if !found {
		mac = b.macOf(e.Client.Addr())
	}
	detail := e.Message
	if e.FromClient && detail != "" {
		detail = "the client says: " + detail
	}
	return event.Event{
		Time: now, Kind: tftpKinds[e.Kind], MAC: mac, IP: e.Client.Addr().Unmap().String(),
		File: e.File, Size: max(e.Size, 0), Bytes: e.Bytes, Duration: e.Duration, Retransmits: e.Retransmits, Detail: detail,
	}
}
