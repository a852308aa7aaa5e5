package timeline

import "time"

// Line is one line of a machine's log.
type Line struct {
	Seq      uint64    `json:"seq"`  // per machine, from 1, without gaps as recorded
	Time     time.Time `json:"time"` // of receipt
	MAC      string    `json:"mac,omitempty"`
	IP       string    `json:"ip,omitempty"` // the sender; finds the MAC if that is empty
	Severity int       `json:"severity"`     // RFC 5424: 0 emergency to 7 debug
	Facility int       `json:"facility"`
	Host     string    `json:"host,omitempty"`
	App      string    `json:"app,omitempty"`
	Text     string    `json:"text"`
}

// Query picks lines. The zero value picks all.
type Query struct {
	Text     string    // part of app, host or text, without regard to case
	Severity *int      // at most this number (at least this severe); nil: all
	Since    time.Time // received then or later
	After    uint64    // Seq greater than this
	Tail     int       // only the last so many; 0: all
}
