package store

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A part that a server lists with the right size and other bytes, as one that
// was cut off while it was sent, is not taken for ours.
func TestIsPart(t *testing.T) {
	content := strings.NewReader("a part of a file")
	sum := md5.Sum([]byte("a part of a file"))
	etag := hex.EncodeToString(sum[:])
	for _, tt := range []struct {
		name, etag string
		size       int64
		want       bool
	}{
		{"whole", `"` + etag + `"`, 16, true},
		{"without quotes", etag, 16, true},
		{"cut off", `"d41d8cd98f00b204e9800998ecf8427e"`, 16, false},
		{"another size", `"` + etag + `"`, 15, false},
		{"encrypted", `"` + etag + `-1"`, 16, false},
		{"none", "", 16, false},
	} {
		if got := isPart(types.Part{Size: &tt.size, ETag: aws.String(tt.etag)}, io.NewSectionReader(content, 0, 16)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
