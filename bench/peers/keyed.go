// Go under the same load: a goroutine and a channel for each key. It may use every
// core, which no other contender does.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

type plan struct {
	Blocks, Live, PerSession, Chunk int
	WarmMs, MeasureMs               int
}

type message struct {
	key, kind string
	n         int
}

var ended, handled, sum atomic.Int64

func session(inbox chan *message, gone *sync.WaitGroup) {
	defer gone.Done()
	var mine, total int64
	for m := range inbox {
		mine++
		total += int64(m.n)
		if m.kind == "end" {
			break
		}
	}
	ended.Add(1)
	handled.Add(mine)
	sum.Add(total)
}

// The n-th message, made as it is sent, with a key of its own, as a parser gives it.
func messageAt(p plan, index int) *message {
	perBlock := p.Live * p.PerSession
	block, inBlock := index/perBlock, index%perBlock
	n, k := inBlock/p.Live, inBlock%p.Live
	kind := "msg"
	if n == 0 {
		kind = "start"
	} else if n == p.PerSession-1 {
		kind = "end"
	}
	return &message{"session-" + strconv.Itoa(block*p.Live+k), kind, n}
}

func passes(p plan, atLeastMs int) float64 {
	inboxes := map[string]chan *message{}
	total := p.Blocks * p.Live * p.PerSession
	begin := time.Now()
	for count := 0; ; {
		var gone sync.WaitGroup
		for n := 0; n < total; n++ {
			m := messageAt(p, n)
			inbox := inboxes[m.key]
			if inbox == nil {
				inbox = make(chan *message, 64)
				inboxes[m.key] = inbox
				gone.Add(1)
				go session(inbox, &gone)
			}
			inbox <- m
			if m.kind == "end" {
				delete(inboxes, m.key)
			}
			if n%p.Chunk == p.Chunk-1 {
				runtime.Gosched()
			}
		}
		gone.Wait()
		count += total
		if took := time.Since(begin); took >= time.Duration(atLeastMs)*time.Millisecond {
			return float64(count) / took.Seconds()
		}
	}
}

func main() {
	var p plan
	if err := json.Unmarshal([]byte(os.Args[2]), &p); err != nil {
		panic(err)
	}
	passes(p, p.WarmMs)
	value := passes(p, p.MeasureMs)
	sessions, per := ended.Load(), int64(p.PerSession)
	if handled.Load() != sessions*per || sum.Load() != sessions*per*(per-1)/2 {
		panic("wrong counts")
	}
	if os.Args[1] == "churn" {
		value /= float64(p.PerSession)
	}
	fmt.Printf("{\"value\":%f}\n", value)
}
