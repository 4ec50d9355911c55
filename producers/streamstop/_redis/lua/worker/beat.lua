--! include lib/clock lib/event lib/writing
--! const WORKERS
--! args run name sign text
-- Write a worker's sign of life, and mark the workers that have been silent for too long.
--
-- run      id of the worker's process
-- name     its name
-- sign     what it tells of itself: a JSON object that is not empty (_core.workers.SignOfLife)
-- text     of the event, if the worker has just started
-- Returns  the books of other workers that are alive and differ from this worker's
--
-- The hash streamstop.work.workers:  run -> {"seen_us":<now>,"lost":<0 or 1>,<sign>

local LOST = 30 * SECOND            -- silent for so long, a worker is lost: _core.workers.PATIENCE
local FORGOTTEN = 3600 * SECOND     -- a lost worker is shown for so long
local KEPT = 86400                  -- s after the last sign of any worker
local HEAD = '^{"seen_us":(%d+),"lost":(%d),'

local function name_of(written)
    local ok, fields = pcall(cjson.decode, written)
    return ok and type(fields) == 'table' and type(fields.name) == 'string' and fields.name or ''
end

local alive, silent, books = {}, {}, {}
local own, was_lost = nil, false
local entries = redis.call('HGETALL', WORKERS)
redis.call('EXPIRE', WORKERS, KEPT)
has_written = true                  -- a write that needs no memory: see lib/writing
for i = 1, #entries, 2 do
    local other, written = entries[i], entries[i + 1]
    local seen, lost = string.match(written, HEAD)
    seen = tonumber(seen)
    if other == run then
        own, was_lost = written, lost == '1'
    elseif not seen or now - seen >= FORGOTTEN then
        redis.call('HDEL', WORKERS, other)
    elseif seen > now + LOST then   -- the clock was set back: the worker is alive, or is lost half a minute from now
        redis.call('HSET', WORKERS, other, (string.gsub(written, '^{"seen_us":%d+', '{"seen_us":' .. integer(now), 1)))
    elseif now - seen < LOST then
        alive[#alive + 1] = written
    elseif lost == '0' then
        silent[#silent + 1] = {other, written}
    end
end
if #silent > 0 then
    local is_alive = {[name] = true}
    for _, written in ipairs(alive) do is_alive[name_of(written)] = true end
    for _, entry in ipairs(silent) do
        local other = name_of(entry[2])
        if is_alive[other] then     -- it was started again
            redis.call('HDEL', WORKERS, entry[1])
        else
            redis.call('HSET', WORKERS, entry[1], (string.gsub(entry[2], '"lost":0', '"lost":1', 1)))
        end
        add_event('worker_lost', '', '', other, 'no sign of life for half a minute')
    end
end
redis.call('HSET', WORKERS, run, '{"seen_us":' .. integer(now) .. ',"lost":0,' .. string.sub(sign, 2))
if not own then
    redis.call('EXPIRE', WORKERS, KEPT)
    add_event('worker_started', '', '', name, text)
elseif was_lost then
    add_event('worker_started', '', '', name, 'shows signs of life again')
end
local book = string.match(sign, '"book":"(%x+)"')
local is_listed = {}
for _, written in ipairs(alive) do
    local other = string.match(written, '"book":"(%x+)"')
    if other and other ~= book and not is_listed[other] then
        is_listed[other] = true
        books[#books + 1] = other
    end
end
table.sort(books)
return books
