//go:build !linux

package serve

import "errors"

// CheckUser is RunAs's error.
func CheckUser(string) error { return RunAs("", "", "", nil, nil) }

// RunAs changes the user on Linux only.
func RunAs(string, string, string, []string, []string) error {
	return errors.New("user: can be changed on Linux only")
}
