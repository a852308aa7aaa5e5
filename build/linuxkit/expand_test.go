package linuxkit

import (
	"slices"
	"testing"
)

func TestVariables(t *testing.T) {
	got := Variables([]byte("a: ${ONE}$two x$3 $$ ${no-name} ${ONE}\n"))
	if want := []string{"ONE", "two", "ONE"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
