--! include lib/clock
--! const DEAD MOST_DEAD
-- Dead letters:
--
-- streamstop.dead         zset    id of a dead letter -> moment at which it was kept
-- streamstop.dead.<id>    hash    lane, room, letter (JSON, or '' for an unreadable message), message (what it quotes)
-- streamstop.dead:count   string  how many messages were unreadable

local LONGEST_KEPT = 4096           -- bytes of a message that a dead letter quotes

-- Keep a dead letter. `letter` is JSON, or '' for an unreadable message; `message` is the text to quote, or ''.
local function keep_dead_letter(lane, id, letter, message, room)
    local key = DEAD .. '.' .. id
    redis.call('ZADD', DEAD, integer(now), id)
    redis.call('HSET', key, 'lane', lane.name, 'letter', letter, 'message', string.sub(message, 1, LONGEST_KEPT),
        'room', room)
    if redis.call('ZCARD', DEAD) > MOST_DEAD then
        redis.call('DEL', DEAD .. '.' .. redis.call('ZPOPMIN', DEAD)[1])
    end
end
