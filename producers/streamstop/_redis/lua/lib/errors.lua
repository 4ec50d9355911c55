--! include lib/clock lib/lane lib/event lib/writing
--! const ERROR_COUNTS
-- Vendors' errors and the rests that they cause, as people on call read them. The hash streamstop.work.errors.<n> counts
-- the answers of the n-th five minutes since the epoch that were no success:
--
-- <lane>\t<code>        how many answers of the lane had this code
-- <lane>\t<code>\tlast  the newest of them: {at (µs), message, request_id} as JSON
-- other                 answers beyond the first MOST_CODES lanes and codes
--
-- Two fields of the lane's pace hold the newest: error_code and error_at (µs).

local ERRORS_SPAN = 300             -- s that one hash counts
local ERRORS_KEPT = 90000           -- s: a day, and the hash that ends it
local MOST_CODES = 500              -- lanes and codes that one hash counts by themselves
local QUIET = 60 * SECOND           -- a lane that rests again within this time adds no event

-- Return the code of the answer that a report is about.
local function code_of(job)
    return job.error and job.error.code or 'without a code'
end

-- Add an event about a lane.
local function add_lane_event(kind, lane, text)
    local account, operation = string.match(lane.name, '^([^.]*)%.?(.*)$')
    add_event(kind, account, operation, '', text)
end

-- Count an answer that was no success: {code, message, request_id, unknown}. `unknown`: no table lists the code.
local function count_error(lane, answer)
    set(lane, 'error_code', answer.code)
    set(lane, 'error_at', now)
    begin_writing()
    local key = ERROR_COUNTS .. integer(math.floor(now_s / ERRORS_SPAN))
    local field = lane.name .. '\t' .. answer.code
    local count = redis.pcall('HINCRBY', key, field, 1)
    if type(count) == 'table' then return end   -- a key of another type must not keep a job from being reported
    if count == 1 then
        redis.call('EXPIRE', key, ERRORS_KEPT)
        if redis.call('HLEN', key) > 2 * MOST_CODES then
            redis.call('HDEL', key, field)
            redis.call('HINCRBY', key, 'other', 1)
            return
        end
        if answer.unknown then
            add_lane_event('unknown_code', lane, answer.code .. ': in no table, so it is taken for a transient fault')
        end
    end
    local last = {at = integer(now), message = answer.message, request_id = answer.request_id}
    redis.call('HSET', key, field .. '\tlast', cjson.encode(last))
end

-- Add an event for a rest of a throttled lane that has begun, unless one was added a short time ago.
local function tell_rest(lane, rest, code)
    local told = tonumber(redis.call('HGET', lane.pace_key, 'told') or 0)
    if math.abs(now - told) < QUIET then return end
    set(lane, 'told', now)
    add_lane_event('resting', lane, string.format('%s: rests %.3g s', code, rest / SECOND))
end

-- Add an event for a lane that has begun to fail, and rests.
local function tell_failing(lane, rest, code)
    local text = string.format('%s: %d faults in a row, rests %.3g s', code, lane.failed, rest / SECOND)
    add_lane_event('failing', lane, text)
end

-- Add an event for the first good answer of a lane that was failing.
local function tell_recovery(lane)
    add_lane_event('recovered', lane, 'the vendor answers again')
end
