#include "backing/nbd_backing.hpp"
#include "control/methods.hpp"
#include "control/records.hpp"

namespace plydisk::methods {

namespace {

// What all ways to make an image are told.
Store::NewImage new_image(const Params& params) {
  Store::NewImage image;
  image.name = params.text("name");
  image.description = params.optional_text("description").value_or("");
  image.writes = params.write_plan("writes");
  require_valid_name("image", image.name);
  return image;
}

}  // namespace

json image_create(ControlService& service, const Params& params, const Progress& progress) {
  Store::NewImage image = new_image(params);
  image.size = params.optional_number("size");
  image.from = params.optional_text("from").value_or("");
  image.link = params.flag("link");
  if (image.size.has_value() != image.from.empty())
    params.refuse(R"(give either "size", for an empty disk, or "from", for a copy)");
  if (!image.from.empty() && image.from.front() != '/' && !is_nbd_uri(image.from))
    params.refuse("the field \"from\" must be an absolute path or an NBD URI, not " +
                  quote(image.from));
  if (image.link && image.from.empty())
    params.refuse("\"link\" needs \"from\": what is to be served where it lies");
  return image_json(service.store(), service.store().create_image(image, progress));
}

json image_adopt(ControlService& service, const Params& params, const Progress& progress) {
  return image_json(service.store(), service.store().adopt_image(new_image(params), progress));
}

json image_list(ControlService& service, const Params&, const Progress&) {
  json images = json::array();
  for (const ImageStatus& image : service.store().images())
    images.push_back(image_json(service.store(), image));
  return images;
}

json image_show(ControlService& service, const Params& params, const Progress&) {
  return image_json(service.store(), service.store().image(params.text("name")));
}

json image_set(ControlService& service, const Params& params, const Progress&) {
  const std::string name = params.text("name");
  service.store().catalogue().change_image(name, [&](ImageRecord& image) {
    if (params.has("description"))
      image.description = params.optional_text("description").value_or("");
    if (params.has("writes")) image.writes = params.write_plan("writes");
  });
  return image_json(service.store(), service.store().image(name));
}

json image_remove(ControlService& service, const Params& params, const Progress&) {
  const std::string name = params.text("name");
  service.store().remove_image(name);
  return {{"name", name}};
}

json image_accept(ControlService& service, const Params& params, const Progress&) {
  return image_json(service.store(), service.store().accept_image(params.text("name")));
}

}  // namespace plydisk::methods
