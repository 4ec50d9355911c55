--! include lib/clock
--! const DEAD MOST_DEAD
-- Dead letters:
--
-- streamstop.dead         zset   id of a dead letter -> moment at which it was kept
-- streamstop.dead.<id>    hash   the letter
-- streamstop.dead:count   int    how many messages nobody could read

local LONGEST_KEPT = 4096           -- bytes of a message that a dead letter quotes

-- Keep what a person has to look at: a letter is JSON, or '' for a message that cannot be read; `message` is quoted.
local function bury(lane, id, letter, message, room)
    local key = DEAD .. '.' .. id
    redis.call('ZADD', DEAD, integer(now), id)
    redis.call('HSET', key, 'lane', lane.name, 'letter', letter, 'message', string.sub(message, 1, LONGEST_KEPT),
        'room', room)
    if redis.call('ZCARD', DEAD) > MOST_DEAD then
        redis.call('DEL', DEAD .. '.' .. redis.call('ZPOPMIN', DEAD)[1])
    end
end
