-- wrk script: every request is one symbol's next bar under a new id.
--
-- arguments: MODE RATE SECONDS WARM_SECONDS STATE_FILE RUN_NAME
--   MODE        decide: answers are matched with their requests; noop: only statuses are counted
--   RATE        requests a second of all threads; 0: as fast as the connections go
--   SECONDS     how long requests are sent after the warm-up; WARM_SECONDS are not counted
--   STATE_FILE  lines "key value": token, session, threads, decimals; then "symbol NAME TICKS DRIFT"
--
-- Latency is counted from the moment a request was due, which is not when a busy connection could
-- send it. A symbol is free again when its answer is here, so that no bar overtakes another one.
-- done() prints one line "LOAD" and JSON, and writes the walk's state back.

local ffi = require("ffi")
ffi.cdef [[
typedef struct { long sec; long nsec; } load_timespec;
int clock_gettime(int clock, load_timespec *now);
]]
local REALTIME, MONOTONIC = 0, 1
local now_spec = ffi.new("load_timespec")
local format, find, sub, random, floor = string.format, string.find, string.sub, math.random, math.floor

local SLICE_S = 10       -- the histogram is kept by slices of this length
local BUCKETS = 200000   -- of 0.1 ms: up to 20 s
local LOST_S = 15        -- after this a symbol without an answer is used again
local FOREVER_MS = 3600000
-- As in market.py.
local DRIFT, NOISE, TURN, LEAST, MOST = 0.005, 0.06, 0.02, 100000, 100000000

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

local function seconds()
   ffi.C.clock_gettime(MONOTONIC, now_spec)
   return tonumber(now_spec.sec) + tonumber(now_spec.nsec) * 1e-9
end

local function wall_ns()
   ffi.C.clock_gettime(REALTIME, now_spec)
   return format("%d%09d", tonumber(now_spec.sec), tonumber(now_spec.nsec))
end

local function read_state(path)
   local about, symbols = {}, {}
   for line in io.lines(path) do
      local name, ticks, drift = line:match("^symbol (%S+) (%d+) (-?%d+)$")
      if name then
         symbols[#symbols + 1] = { name = name, ticks = tonumber(ticks), drift = tonumber(drift) }
      else
         local key, value = line:match("^(%S+) (%S+)$")
         about[key] = value
      end
   end
   return about, symbols
end

local mode, rate, due_count, scale, unit, head, tail, prefix, about
local free, first_free, last_free = {}, 1, 0
local asked = {}         -- by request id
local claimed, begun = 0, nil
local verified = false   -- wrk's own look at the first request, which is never sent

function init(arguments)
   mode = arguments[1]
   duration, warm = tonumber(arguments[3]), tonumber(arguments[4])
   local path, run = arguments[5], arguments[6]
   local symbols
   about, symbols = read_state(path)
   local count = tonumber(about.threads)
   rate = tonumber(arguments[2]) / count
   due_count = floor(rate * (warm + duration))
   scale = tonumber(about.decimals)
   unit = 10 ^ scale
   math.randomseed(tonumber(about.seed) + number)
   -- Shared with done(): plain globals.
   names, closes, drifts = {}, {}, {}
   for i, symbol in ipairs(symbols) do
      if i % count == number then
         local at = #names + 1
         names[at], closes[at], drifts[at] = symbol.name, symbol.ticks, symbol.drift
         last_free = last_free + 1
         free[last_free] = at
      end
   end
   sent, answered, arrived, failed, wrong, replayed, lost, starved = 0, 0, 0, 0, 0, 0, 0, 0
   statuses, latencies, first_wrong = {}, {}, ""
   began_at, last_at = 0, 0
   prefix = format("%s-%d-", run, number)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["Authorization"] = "Bearer " .. about.token
   wrk.headers["x-request-disconnect-disabled"] = "?1"
   if tonumber(arguments[2]) == 0 then
      delay = nil
   end
   local placeholder = wrk.format("POST", nil, nil, "B")
   head = placeholder:match("^(.-)Content%-Length: 1\r\n") or error("wrk writes no Content-Length")
   tail = placeholder:match("Content%-Length: 1\r\n(.*)B$")
end

local function start(now)
   begun, began_at = now, now
end

-- Milliseconds until the next due moment that no connection has claimed yet, rounded up.
function delay()
   local now = seconds()
   if not begun then start(now) end
   if claimed >= due_count then return FOREVER_MS end
   local due = begun + claimed / rate
   claimed = claimed + 1
   local wait = (due - now) * 1000
   if wait <= 0 then return 0 end
   return floor(wait) + 1
end

local function price(ticks)
   return format("%d.%0" .. scale .. "d", floor(ticks / unit), ticks % unit)
end

-- The next bar of a walk with stretches of drift; ticks are whole.
local function bar_of(at)
   local before = closes[at]
   if random() < TURN then drifts[at] = random(-3, 3) end
   local step = floor(before * (drifts[at] * DRIFT + (random() - 0.5) * NOISE))
   local close = before + step
   if close < LEAST then close, drifts[at] = before + 50, 3 end
   if close > MOST then close, drifts[at] = before - 50, -3 end
   local up, down = random(0, 200), random(0, 200)
   local high = (close > before and close or before) + up
   local low = (close < before and close or before) - down
   closes[at] = close
   return before, high, low, close, random(1000000, 5000000)
end

-- A free symbol; the oldest unanswered one when its answer must be lost.
local function next_symbol()
   if first_free <= last_free then
      local at = free[first_free]
      free[first_free] = nil
      first_free = first_free + 1
      return at
   end
   starved = starved + 1
   return nil
end

local function give_back(at)
   last_free = last_free + 1
   free[last_free] = at
end

local function sweep(now)
   for id, request in pairs(asked) do
      if now - request.due > LOST_S then
         asked[id] = nil
         lost = lost + 1
         give_back(request.at)
      end
   end
end

local function write(body)
   -- The name of a request in the server's log, as the client gives it: Serve makes one otherwise.
   return head .. "X-Request-ID: " .. prefix .. sent .. "\r\nContent-Length: " .. #body .. "\r\n"
      .. tail .. body
end

function request()
   if not verified then
      verified = true
      return write("{}")
   end
   local now = seconds()
   if not begun then start(now) end
   local due = now
   -- wrk's timers count whole milliseconds, so that one may fire a little early.
   if rate > 0 then due = math.min(now, begun + sent / rate) end
   sent = sent + 1
   local at = next_symbol()
   if not at then
      sweep(now)
      at = next_symbol() or error("every symbol waits for an answer")
   end
   local ts = wall_ns()
   local open, high, low, close, volume = bar_of(at)
   local id = prefix .. sent
   local body = '{"session_id":"' .. about.session .. '","request_id":"' .. id
      .. '","bars":[{"symbol":"' .. names[at] .. '","ts":' .. ts
      .. ',"open":"' .. price(open) .. '","high":"' .. price(high) .. '","low":"' .. price(low)
      .. '","close":"' .. price(close) .. '","volume":' .. volume .. "}]}"
   if mode == "noop" then
      give_back(at)
   else
      asked[id] = { at = at, ts = ts, due = due }
   end
   return write(body)
end

local function count_latency(now, due)
   local elapsed = due - begun - warm
   if elapsed < 0 or elapsed >= duration then return false end
   local bucket = floor((now - due) * 10000)
   if bucket < 0 then bucket = 0 end
   if bucket >= BUCKETS then bucket = BUCKETS - 1 end
   local key = floor(elapsed / SLICE_S) * BUCKETS + bucket
   latencies[key] = (latencies[key] or 0) + 1
   return true
end

local function inside(now)
   local elapsed = now - begun - warm
   return elapsed >= 0 and elapsed < duration
end

local function mismatch(why, body)
   wrong = wrong + 1
   if first_wrong == "" then first_wrong = why .. " " .. sub(body, 1, 300):gsub('[^%w :.,{}%[%]-]', "'") end
end

function response(status, headers, body)
   local now = seconds()
   statuses[status] = (statuses[status] or 0) + 1
   last_at = now
   if mode == "noop" then
      if status == 200 and inside(now) then arrived = arrived + 1 end
      return
   end
   if status ~= 200 then
      failed = failed + 1
      if first_wrong == "" then first_wrong = sub(body, 1, 300):gsub('[^%w :.,{}%[%]-]', "'") end
      return
   end
   local _, _, id = find(body, '"request_id":"([^"]+)"', 1)
   local request = id and asked[id]
   if not request then return mismatch("unknown request_id", body) end
   asked[id] = nil
   give_back(request.at)
   for name, value in pairs(headers) do
      if name:lower() == "idempotency-replayed" then replayed = replayed + 1 end
   end
   if not find(body, '"session_id":"' .. about.session .. '"', 1, true)
      or not find(body, '"verdicts":[{"symbol":"' .. names[request.at] .. '","ts":' .. request.ts .. ",", 1, true) then
      return mismatch("another bar", body)
   end
   if inside(now) then arrived = arrived + 1 end
   if count_latency(now, request.due) then answered = answered + 1 end
end

local function json_of(counts)
   local parts = {}
   for key, count in pairs(counts) do parts[#parts + 1] = format('"%d":%d', key, count) end
   return "{" .. table.concat(parts, ",") .. "}"
end

local function sum(name)
   local total = 0
   for _, thread in ipairs(threads) do total = total + thread:get(name) end
   return total
end

local function merged(name)
   local all = {}
   for _, thread in ipairs(threads) do
      for key, count in pairs(thread:get(name)) do all[key] = (all[key] or 0) + count end
   end
   return all
end

function done(summary, latency, requests)
   local fields = {}
   for _, name in ipairs({ "sent", "answered", "arrived", "failed", "wrong", "replayed", "lost", "starved" }) do
      fields[#fields + 1] = format('"%s":%d', name, sum(name))
   end
   local told = ""
   for _, thread in ipairs(threads) do
      if told == "" then told = thread:get("first_wrong") end
   end
   local errors = summary.errors
   io.write("LOAD {", table.concat(fields, ","),
      format(',"socket_errors":%d,"timeouts":%d', errors.connect + errors.read + errors.write, errors.timeout),
      format(',"wrk_p50_ms":%.3f,"first_wrong":"%s"', latency:percentile(50) / 1000, told),
      ',"statuses":', json_of(merged("statuses")),
      ',"latencies":', json_of(merged("latencies")), "}\n")
   local path = os.getenv("LOAD_STATE_OUT")
   if path then
      local out = io.open(path, "w")
      for _, thread in ipairs(threads) do
         local symbols, ticks, drift = thread:get("names"), thread:get("closes"), thread:get("drifts")
         for i, name in ipairs(symbols) do out:write(format("symbol %s %d %d\n", name, ticks[i], drift[i])) end
      end
      out:close()
   end
end
