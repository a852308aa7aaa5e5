package timeline

import (
	"cmp"
	"slices"
	"time"
)

// Stage is a step of a boot, in the order of a boot that goes well.
type Stage string

// The stages. StageFile is a download that is none of the others; it does not
// count as progress.
const (
	StageDiscover  Stage = "discover"
	StageOffer     Stage = "offer"
	StageRequest   Stage = "request"
	StageAck       Stage = "ack"
	StageProbe     Stage = "probe"     // the size of the boot binary was asked
	StageBinary    Stage = "binary"    // a boot binary by TFTP or HTTP (autoexec.ipxe with it)
	StageScript    Stage = "script"    // the machine's iPXE script
	StageKernel    Stage = "kernel"    //
	StageInitramfs Stage = "initramfs" //
	StageSyslog    Stage = "syslog"    // first line of the booted system
	StageWorker    Stage = "worker"    // Tinkerbell's worker runs
	StageFile      Stage = "file"
)

// Stages are all stages that count as progress, in order. The caller owns the
// slice.
func Stages() []Stage {
	return []Stage{StageDiscover, StageOffer, StageRequest, StageAck, StageProbe, StageBinary, StageScript,
		StageKernel, StageInitramfs, StageSyslog, StageWorker}
}

// rank orders stages; StageFile and unknown ones are 0.
func (s Stage) rank() int { return ranks[s] }

var ranks = func() map[Stage]int {
	m := map[Stage]int{}
	for i, s := range Stages() {
		m[s] = i + 1
	}
	return m
}()

// Compare orders stages by how far a boot has come.
func (s Stage) Compare(t Stage) int { return cmp.Compare(s.rank(), t.rank()) }

// State is a machine's condition in a word.
type State string

// The states.
const (
	Booting State = "booting"
	Stuck   State = "stuck"   // a Problem of severity Error stands
	Up      State = "up"      // the worker runs
	Idle    State = "idle"    // has an address and boots nothing from here
	Silent  State = "silent"  // nothing heard for long
	Unasked State = "unasked" // in the hardware data only; see admin
)

// Step is one step of a boot. Repeats of the same thing (retries, renewals) are
// one Step with a Count.
type Step struct {
	Stage       Stage         `json:"stage"`
	Phase       Phase         `json:"phase,omitempty"` // who asked
	Start       time.Time     `json:"start"`
	End         time.Time     `json:"end"` // of the last event of this step; Start for a single packet
	Count       int           `json:"count"`
	Running     bool          `json:"running,omitempty"` // a download that has not ended
	File        string        `json:"file,omitempty"`
	Protocol    string        `json:"protocol,omitempty"` // tftp, http
	Bytes       int64         `json:"bytes,omitempty"`
	Size        int64         `json:"size,omitempty"`
	Took        time.Duration `json:"took,omitempty"` // ns; of the last download
	Rate        int64         `json:"rate,omitempty"` // bytes per second
	Retransmits int           `json:"retransmits,omitempty"`
	Peer        string        `json:"peer,omitempty"`
	Aborted     bool          `json:"aborted,omitempty"`
	Detail      string        `json:"detail,omitempty"`
}

// Phase is which program on the machine was speaking.
type Phase string

// The phases of a machine.
const (
	PhaseFirmware Phase = "firmware" // PXE ROM, UEFI
	PhaseIPXE     Phase = "ipxe"
	PhaseOS       Phase = "os" // any other DHCP client, and all that comes after a kernel
)

// Boot is one boot of a machine.
type Boot struct {
	ID      uint64    `json:"id"` // grows with time, unique in a state file
	Start   time.Time `json:"start"`
	Last    time.Time `json:"last"`         // last sign that counted as part of it
	End     time.Time `json:"end,omitzero"` // when the next boot began
	Stage   Stage     `json:"stage"`        // furthest
	Netboot bool      `json:"netboot"`      // boots from the network: not only a DHCP client
	IP      string    `json:"ip,omitempty"` // last that it was given
	Arch    string    `json:"arch,omitempty"`
	Client  string    `json:"client,omitempty"` // what it said it was, last
	Steps   []Step    `json:"steps"`
	Dropped int       `json:"dropped,omitempty"` // steps beyond the limit
	Marks   Marks     `json:"marks,omitzero"`
}

// Marks are facts about a boot that are not steps.
type Marks struct {
	Silence      *Mark `json:"silence,omitempty"`
	Rival        *Mark `json:"rival,omitempty"`
	Nak          *Mark `json:"nak,omitempty"`
	Decline      *Mark `json:"decline,omitempty"`
	Loop         *Mark `json:"loop,omitempty"`
	NoBinary     *Mark `json:"noBinary,omitempty"`
	Unknown      *Mark `json:"unknown,omitempty"`
	OSAddress    *Mark `json:"osAddress,omitempty"`    // the booted system has got an address
	OSDiscover   *Mark `json:"osDiscover,omitempty"`   // the booted system asked for one
	WorkerFailed *Mark `json:"workerFailed,omitempty"` // bootkit's words
	Panic        *Mark `json:"panic,omitempty"`        // kernel's words
}

// Mark is when and how often something was seen, and its words.
type Mark struct {
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Count  int       `json:"count"`
	Peer   string    `json:"peer,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Severity of a Problem.
type Severity string

// The severities.
const (
	Info  Severity = "info"
	Warn  Severity = "warning"
	Error Severity = "error"
)

// rank orders severities, the worst highest.
func (s Severity) rank() int { return slices.Index([]Severity{Info, Warn, Error}, s) }

// Problem is a diagnosis: what is wrong with a machine and what to do.
type Problem struct {
	Code     string    `json:"code"` // stable, for programs and metrics; see Codes
	Severity Severity  `json:"severity"`
	Text     string    `json:"text"`
	Do       string    `json:"do"`
	Since    time.Time `json:"since"`
	Copy     []Snippet `json:"copy,omitempty"` // ready to be pasted
}

// Snippet is text to be copied somewhere.
type Snippet struct {
	Label string `json:"label"` // "hardware.csv"
	Text  string `json:"text"`
}

// LogStat is how much log a machine has.
type LogStat struct {
	Lines   int    `json:"lines"`
	Bytes   int64  `json:"bytes"`
	Dropped uint64 `json:"dropped"` // lines that were too many
}

// Machine is what the timeline knows of a machine at a moment.
type Machine struct {
	MAC      string    `json:"mac"`
	Hostname string    `json:"hostname,omitempty"` // of the hardware data
	Known    bool      `json:"known"`              // in the hardware data
	IP       string    `json:"ip,omitempty"`
	Arch     string    `json:"arch,omitempty"`
	Client   string    `json:"client,omitempty"`
	State    State     `json:"state"`
	Stage    Stage     `json:"stage,omitempty"`
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Count    int       `json:"count"` // boots ever
	Version  uint64    `json:"version"`
	Boot     *Boot     `json:"boot,omitempty"` // the last one
	Problems []Problem `json:"problems"`       // the worst first
	Logs     LogStat   `json:"logs"`
}

// Detail is a machine with its earlier boots.
type Detail struct {
	Machine
	History []Boot `json:"history"` // without the last one, the latest first
}

// Status is the timeline as a whole.
type Status struct {
	Time     time.Time      `json:"time"`
	Seq      uint64         `json:"seq"`
	Machines int            `json:"machines"`
	States   map[State]int  `json:"states"`
	Stages   map[Stage]int  `json:"stages"`   // of the machines' last boots
	Problems map[string]int `json:"problems"` // machines by Code
	Evicted  uint64         `json:"evicted"`  // machines dropped because there were too many
	LogBytes int64          `json:"logBytes"`
	Unplaced uint64         `json:"unplaced"` // events and lines of no machine that is known
	Disk     Disk           `json:"disk"`
}

// Disk is the state file's condition.
type Disk struct {
	Path    string    `json:"path,omitempty"` // "" is memory only
	Bytes   int64     `json:"bytes,omitempty"`
	Written time.Time `json:"written,omitzero"` // last batch
	Error   string    `json:"error,omitempty"`  // why the last batch was not written
	Since   time.Time `json:"since,omitzero"`   // of Error
}
