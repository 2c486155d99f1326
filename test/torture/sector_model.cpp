#include "sector_model.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace plydisk::torture {

SectorModel::SectorModel(std::vector<std::uint64_t> base)
    : base_(std::move(base)), versions_(base_.size()) {}

void SectorModel::begin_epoch(const NewEpoch& epoch, std::uint64_t began) {
  const auto number = static_cast<unsigned>(epochs_.size());
  epochs_.push_back({epoch, began});
  changes_.push_back({began, unfinished, epoch.new_session, number});
  begun_epoch_.store(number);
}

void SectorModel::epoch_begun(std::uint64_t ended) {
  changes_.back().ended = ended;
  acknowledged_epoch_.store(static_cast<unsigned>(epochs_.size()) - 1);
  // Merging layers down is answered when the result is durable.
  if (epochs_.back().carry) add_flush(changes_.back().began, ended);
}

void SectorModel::end_session(std::uint64_t began, std::uint64_t ended) {
  changes_.push_back({began, ended, true, std::nullopt});
}

void SectorModel::add(std::size_t sector, const Version& version) {
  versions_[sector].push_back(version);
}

void SectorModel::finish(std::size_t sector, std::uint64_t ended, unsigned last_epoch) {
  versions_[sector].back().ended = ended;
  versions_[sector].back().last_epoch = last_epoch;
}

void SectorModel::add_flush(std::uint64_t began, std::uint64_t ended) {
  const std::lock_guard lock(flush_mutex_);
  flushes_.push_back({began, ended});
}

SectorModel::Survival SectorModel::survival(std::size_t changes, std::uint64_t cut,
                                            bool rebooted) const {
  Survival result;
  result.cut = cut;
  result.kept.resize(epochs_.size());
  result.moved.resize(epochs_.size());
  for (const Epoch& epoch : epochs_) result.place.push_back(epoch.place);
  std::vector<unsigned> stack;  // epochs, oldest first
  // Keeps the longest run of persistent epochs from the bottom.
  const auto reboot = [&] {
    const auto is_volatile = [&](unsigned epoch) {
      return result.place[epoch] == Place::volatile_layer;
    };
    stack.erase(std::ranges::find_if(stack, is_volatile), stack.end());
  };
  for (std::size_t i = 0; i < changes; ++i) {
    const Change& change = changes_[i];
    if (change.ends_session) reboot();
    if (!change.epoch) continue;
    const Epoch& epoch = epochs_[*change.epoch];
    if (epoch.previous_empty && !stack.empty() && stack.back() + 1 == *change.epoch)
      stack.pop_back();
    stack.push_back(*change.epoch);
    if (epoch.carry)
      for (const unsigned below : stack) {
        if (epoch.place == Place::image && result.place[below] != Place::image)
          result.moved[below] = epoch.began;
        if (result.place[below] == Place::volatile_layer) result.place[below] = epoch.place;
      }
    // With no layers above the image, what is written to it needs none to be seen.
    if (epoch.place == Place::image && (epoch.carry || stack.size() == 1)) {
      for (const unsigned now_in_image : stack) {
        result.place[now_in_image] = Place::image;
        result.kept[now_in_image] = true;
      }
      stack.clear();
    }
  }
  if (rebooted) reboot();

  for (const unsigned epoch : stack) result.kept[epoch] = true;
  result.covered = !stack.empty();
  for (const Flush& flush : flushes_)
    if (flush.ended < cut) result.flushed = std::max(result.flushed, flush.began);
  result.description = std::to_string(changes) + " changes of the stack were made; epochs:";
  for (unsigned epoch = 0; epoch < epochs_.size() && epochs_[epoch].began < cut; ++epoch) {
    static constexpr const char* names[] = {"image", "persistent", "volatile"};
    result.newest_epoch = epoch;
    result.description += (epochs_[epoch].new_session ? " | " : " ") + std::to_string(epoch) + " " +
                          names[static_cast<std::size_t>(epochs_[epoch].place)] +
                          (epochs_[epoch].carry ? "+carry" : "") +
                          (result.kept[epoch] ? " (kept)" : "");
  }
  return result;
}

std::vector<SectorModel::Survival> SectorModel::survivals(std::uint64_t cut) const {
  std::size_t certain = 0;
  while (certain < changes_.size() && changes_[certain].ended < cut) ++certain;
  std::vector<Survival> results{survival(certain, cut, true)};
  if (certain < changes_.size() && changes_[certain].began < cut)
    results.push_back(survival(certain + 1, cut, true));
  return results;
}

SectorModel::Survival SectorModel::present(bool rebooted) const {
  Survival result = survival(changes_.size(), unfinished, rebooted);
  result.flushed = unfinished;
  return result;
}

bool SectorModel::survives_now() const {
  const Survival after_boot = present(true);
  return after_boot.kept.back() || (after_boot.place.back() == Place::image && !after_boot.covered);
}

SectorModel::Allowed SectorModel::allowed(const Survival& survival, std::size_t sector) const {
  struct Candidate {
    const Version* version;
    std::uint64_t time;  // when it came to where it is
    bool durable;
    std::uint64_t moved = 0;  // when it was copied from a layer into the image, over what was there
    bool surely_moved = true;
    bool surely_kept = true, maybe_kept = false;    // in an epoch that was kept
    bool surely_image = true, maybe_image = false;  // in the image, kept or not
    bool maybe_layer = false;                       // in a layer that was kept
    bool written_directly = false;                  // maybe
  };
  std::vector<Candidate> candidates;
  for (const Version& version : versions_[sector]) {
    if (version.began >= survival.cut) break;
    Candidate candidate{
        &version, version.began,
        version.ended < survival.flushed || (version.fua && version.ended < survival.cut)};
    const unsigned last = std::min(version.last_epoch, survival.newest_epoch);
    for (unsigned epoch = version.first_epoch; epoch <= last; ++epoch) {
      const bool in_image = survival.place[epoch] == Place::image;
      candidate.surely_kept &= survival.kept[epoch];
      candidate.maybe_kept |= survival.kept[epoch];
      candidate.surely_image &= in_image;
      candidate.maybe_image |= in_image;
      candidate.maybe_layer |= survival.kept[epoch] && !in_image;
      candidate.written_directly |= epochs_[epoch].place == Place::image;
      candidate.moved = std::max(candidate.moved, survival.moved[epoch]);
      candidate.surely_moved &= survival.moved[epoch] != 0;
    }
    // What a direct write hid was not copied over it when the layers were moved into the image.
    if (candidate.written_directly && candidate.maybe_kept)
      for (Candidate& hidden : candidates)
        if (version.began < hidden.moved) hidden.moved = 0;
    candidates.push_back(candidate);
  }
  std::vector<Candidate> kept, image;
  std::ranges::copy_if(candidates, std::back_inserter(kept), &Candidate::maybe_kept);
  for (Candidate candidate : candidates) {
    if (!candidate.maybe_image) continue;
    if (candidate.moved != 0) {
      candidate.surely_image &= candidate.surely_moved;
      if (!candidate.surely_moved) image.push_back(candidate);
      candidate.time = candidate.moved;
    }
    image.push_back(candidate);
  }
  std::ranges::stable_sort(image, {}, &Candidate::time);

  // The place of the last one that must be there.
  const auto floor_of = [](const std::vector<Candidate>& in_order, bool Candidate::*sure) {
    for (std::size_t i = in_order.size(); i > 0; --i)
      if (in_order[i - 1].*sure && in_order[i - 1].durable) return std::optional(i - 1);
    return std::optional<std::size_t>();
  };
  Allowed result;
  const auto floor = floor_of(kept, &Candidate::surely_kept);
  bool image_shows = !floor;
  for (std::size_t i = floor.value_or(0); i < kept.size(); ++i) {
    if (kept[i].maybe_layer) result.versions.push_back(kept[i].version);
    image_shows |= kept[i].maybe_image;
  }
  if (image_shows) {
    const auto image_floor = floor_of(image, &Candidate::surely_image);
    result.base = !image_floor;
    for (std::size_t i = image_floor.value_or(0); i < image.size(); ++i)
      result.versions.push_back(image[i].version);
  }
  return result;
}

bool SectorModel::allows(const Survival& survival, std::size_t sector, std::uint64_t hash) const {
  // Most sectors were written a few times at most, and many never.
  if (versions_[sector].empty()) return hash == base_[sector];
  const Allowed values = allowed(survival, sector);
  return (values.base && hash == base_[sector]) ||
         std::ranges::any_of(values.versions,
                             [&](const Version* version) { return version->hash == hash; });
}

std::string SectorModel::expected(const Survival& survival, std::size_t sector) const {
  const Allowed values = allowed(survival, sector);
  std::string text = "  if " + survival.description + ":\n    one of";
  if (values.base) text += base_[sector] == 0 ? " [zeros of the image]" : " [the image's value]";
  for (const Version* version : values.versions)
    text += version->hash == 0 ? " [zeros]"
                               : " [generation " + std::to_string(version->generation) + "]";
  text += "; flushed is what ended before " + std::to_string(survival.flushed) + "\n    history:";
  for (const Version& version : versions_[sector]) {
    if (version.began >= survival.cut) break;
    text += " " + std::to_string(version.began) + "-" +
            (version.ended >= survival.cut ? "cut" : std::to_string(version.ended)) + ":" +
            (version.hash == 0 ? "zeros" : std::to_string(version.generation)) +
            (version.fua ? "(FUA)" : "") + "@" + std::to_string(version.first_epoch);
    const unsigned last = std::min(version.last_epoch, survival.newest_epoch);
    if (last != version.first_epoch) text += "/" + std::to_string(last);
  }
  return text + "\n";
}

}  // namespace plydisk::torture
