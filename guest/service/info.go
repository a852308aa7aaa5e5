package service

import (
	"fmt"
	"time"
)

// State is what a service is doing.
type State string

// The states of a service.
const (
	Starting State = "starting"
	Running  State = "running"
	Stopping State = "stopping"
	Stopped  State = "stopped"  // by a person
	Finished State = "finished" // by itself, and that was its intention
	Waiting  State = "waiting"  // for its next start, after a failure
	Failed   State = "failed"   // and will not be tried again
)

// Info is what is known of a service or of an onboot container.
type Info struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"` // "service", "onboot", "onshutdown"
	State    State     `json:"state"`
	PID      int       `json:"pid,omitempty"` // on the host
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`          // of the state
	Last     string    `json:"last,omitempty"` // how the last run ended, or why there was none
	Log      string    `json:"log"`
}

// String is the short form of the banner: "docker running".
func (i Info) String() string { return fmt.Sprintf("%s %s", i.Name, i.State) }
