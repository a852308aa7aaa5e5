package servetest

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hooksmith/serve/doctor"
)

// examine runs hooksmith doctor in the client namespace.
func (l *lab) examine(args ...string) *doctor.Report {
	l.t.Helper()
	return l.examineAs(nil, args...)
}

// examineAs runs it by a program that takes rights away.
func (l *lab) examineAs(as []string, args ...string) *doctor.Report {
	l.t.Helper()
	argv := append(append(as, hooksmith(l.t), "doctor", "--interface", "eth0", "--json", "--offline"), args...)
	cmd := l.in(l.client, argv...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var r doctor.Report
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		l.t.Fatalf("%s: %v, %v: %s%s", strings.Join(argv, " "), err, jsonErr, out, errs.String())
	}
	var exit *exec.ExitError
	if failed := errors.As(err, &exit) && exit.ExitCode() == 1; failed == r.Healthy || err != nil && !failed {
		l.t.Errorf("healthy %v, and the program ended with %v", r.Healthy, err)
	}
	return &r
}

// codes are a report's findings, without what a busy machine adds.
func codes(r *doctor.Report, severity doctor.Severity) (all []doctor.Code) {
	for _, f := range r.Findings {
		if f.Severity == severity && f.Code != doctor.SlowAnswer && !slices.Contains(all, f.Code) {
			all = append(all, f.Code)
		}
	}
	return all
}

// show is a report for a failed test.
func show(r *doctor.Report) string {
	var b strings.Builder
	if err := r.Picture(&b, doctor.Style{}); err != nil {
		return err.Error()
	}
	return b.String()
}

// A network of ours is healthy, in every mode that answers, and one look at it leaves no lease.
func TestDoctorHealthy(t *testing.T) {
	l := newLab(t)
	l.serve("--dhcp-mode", "pool", "--artifacts", l.artifacts())
	l.ip("-n " + l.client + " addr add 10.78.0.20/24 dev eth0")
	r := l.examine("--full-exchange")
	t.Log(show(r))
	if !r.Healthy || len(codes(r, doctor.Warning)) > 0 {
		t.Errorf("%s", show(r))
	}
}
