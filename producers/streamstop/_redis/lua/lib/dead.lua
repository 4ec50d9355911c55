--! include lib/clock
--! const DEAD MOST_DEAD
-- Dead letters:
--
-- streamstop.dead         zset    id of a dead letter -> moment at which it was kept
-- streamstop.dead.<id>    hash    lane, room, letter (JSON, or '' for an unreadable message), message (what it quotes),
--                                 result
-- streamstop.dead:results hash    result, or 'unreadable' -> how many letters have it
-- streamstop.dead:count   string  how many messages were unreadable

local LONGEST_KEPT = 4096           -- bytes of a message that a dead letter quotes

-- Count a letter of a result, or one less. '' is the result of an unreadable message.
local function count_letter(result, by)
    local field = result == '' and 'unreadable' or result
    if redis.call('HINCRBY', DEAD .. ':results', field, by) == 0 then redis.call('HDEL', DEAD .. ':results', field) end
end

-- Delete a dead letter. Return 1, or 0 if there is none.
local function remove_letter(id)
    local key = DEAD .. '.' .. id
    local result = redis.call('HGET', key, 'result')    -- earlier versions wrote none, and did not count
    local removed = redis.call('ZREM', DEAD, id)
    redis.call('DEL', key)
    if result then count_letter(result, -1) end
    return removed
end

-- Keep a dead letter. `letter` is JSON, or '' for an unreadable message; `message` is the text to quote, or ''.
local function keep_dead_letter(lane, id, letter, message, room)
    local key = DEAD .. '.' .. id
    local result = string.match(letter, '"result":"([%l_]+)"') or ''    -- the outcome comes first
    remove_letter(id)
    redis.call('ZADD', DEAD, integer(now), id)
    redis.call('HSET', key, 'lane', lane.name, 'letter', letter, 'message', string.sub(message, 1, LONGEST_KEPT),
        'room', room, 'result', result)
    count_letter(result, 1)
    if redis.call('ZCARD', DEAD) > MOST_DEAD then remove_letter(redis.call('ZRANGE', DEAD, 0, 0)[1]) end
end
