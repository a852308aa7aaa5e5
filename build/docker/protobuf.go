package docker

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
)

// Wire types: https://protobuf.dev/programming-guides/encoding/
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
	fixed32Type = 5
)

// eachField visits the length-delimited fields of a protobuf message. Others
// are passed over, and the rest of a damaged message.
func eachField(b []byte, visit func(field uint64, value []byte)) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return
		}
		b = b[n:]
		size := uint64(0)
		switch tag & 7 {
		case varintType:
			if _, n = binary.Uvarint(b); n <= 0 {
				return
			}
			size = uint64(n)
		case fixed64Type:
			size = 8
		case fixed32Type:
			size = 4
		case bytesType:
			if size, n = binary.Uvarint(b); n <= 0 {
				return
			}
			b = b[n:]
		default:
			return
		}
		if size > uint64(len(b)) {
			return
		}
		if tag&7 == bytesType {
			visit(tag>>3, b[:size])
		}
		b = b[size:]
	}
}

// Fields of BuildKit's StatusResponse, Vertex and VertexLog, whose Go packages
// would bring gRPC with them: seven megabytes.
const (
	statusVertex    = 1
	statusLog       = 3
	vertexName      = 3
	vertexStarted   = 5
	vertexCompleted = 6
	logMessage      = 4
)

// traceText gives the names of the steps of a moby.buildkit.trace record as they
// begin, and what they print.
func traceText(aux json.RawMessage) string {
	var encoded string
	if json.Unmarshal(aux, &encoded) != nil {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	var out strings.Builder
	eachField(raw, func(field uint64, value []byte) {
		has := map[uint64][]byte{}
		eachField(value, func(f uint64, v []byte) { has[f] = v })
		switch {
		case field == statusVertex && has[vertexStarted] != nil && has[vertexCompleted] == nil:
			out.WriteString(string(has[vertexName]) + "\n")
		case field == statusLog:
			out.Write(has[logMessage])
		}
	})
	return out.String()
}
