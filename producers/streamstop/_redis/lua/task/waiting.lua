--! args list first:int most:int fragment
-- Return the entries of a page of a list of waiting jobs that contain a text.
--
-- first     the first entry of the page, from the back of the lane, where jobs arrive: jobs that are taken meanwhile move
--           no entry out of a page that is still to come
-- most      entries on the page
-- fragment  the text. A body in base64 may contain any
-- Returns   {the list's length, {position, entry}, …}
local found = {}
for i, entry in ipairs(redis.call('LRANGE', list, first, first + most - 1)) do
    if string.find(entry, fragment, 1, true) or string.find(entry, '"base64"', 1, true) then
        found[#found + 1] = {first + i - 1, entry}
    end
end
return {redis.call('LLEN', list), found}
