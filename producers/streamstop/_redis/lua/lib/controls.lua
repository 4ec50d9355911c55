--! include lib/jobs lib/lane
--! const CONTROLS BOOK
-- What a lane must obey: pauses, limits and holds. See _core.controls.

local FOREVER = 9007199254740992    -- 2^53: the end of what does not end by itself

-- Return the version of the controls, which changes with each of them; 0: there is none; nil: another program has written
-- the key, and every lane goes on as it was.
local function controls_version()
    local version = redis.pcall('HGET', CONTROLS, 'version')
    if type(version) ~= 'table' then return tonumber(version or 0) or 0 end
end

-- Return what a control's JSON holds, and the moment at which it ends. Without a text: nil, 0.
local function read_control(text)
    if not text then return nil, 0 end
    local control = decode(text)
    return control, tonumber(control.until_us) or FOREVER
end

-- Read the controls of a lane, unless the lane has this version of them. `book` is the digest of a book with its account.
local function read_controls(lane, version, book)
    if not version or lane.controls == version then return end
    set(lane, 'controls', version)
    local paused, limited, is_held = 0, 0, false
    local account = string.match(lane.name, '^[^.]*')
    if version ~= 0 and string.sub(account, 1, 1) ~= '_' then   -- the steps of shutdowns call no vendor
        local vendor = redis.call('HGET', BOOK .. book, account) or ''
        local texts = redis.call('HMGET', CONTROLS, 'pause all', 'pause vendor:' .. vendor, 'pause ' .. account,
            'pause ' .. lane.name, 'limit ' .. lane.name, 'hold ' .. account)
        for at = 1, 4 do
            local _, ends = read_control(texts[at])
            paused = math.max(paused, ends)
        end
        is_held = texts[6]
        local limit, ends = read_control(texts[5])
        local interval, places = tonumber(limit and limit.interval), tonumber(limit and limit.places)
        if interval and interval > 0 and places then
            limited = ends
            set(lane, 'own_interval', interval)
            set(lane, 'own_places', places)
        end
    end
    set(lane, 'paused', paused)
    set(lane, 'limited', limited)
    set(lane, 'held', is_held and 1 or 0)
end
