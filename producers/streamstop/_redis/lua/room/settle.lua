--! include lib/settle
--! args settlements(lane shutdown member result outcome ok:flag attention:flag)...
-- Settle members whose jobs ended elsewhere, or which never had one.
--
-- settlements  see lib/settle
-- Returns      1
for _, settlement in ipairs(settlements) do
    settle(settlement, settlement.lane)
end
return 1
